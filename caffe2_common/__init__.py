"""What every package here needs and none should write twice: errors, whole files, downloads, preprocessing, cores.

It imports nothing of ours.
"""
