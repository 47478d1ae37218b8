"""ImageNet accuracy of a net in any of its forms: data, preprocessing, metrics, published tables."""
