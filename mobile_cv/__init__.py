"""The PyTorch side: the zoo of mobile networks and the search for new ones."""
