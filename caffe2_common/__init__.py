"""What every package here needs and none should write twice: errors, whole files, downloads, cores, published figures,
and the way from an image to a net's input.

It imports nothing of ours.
"""
