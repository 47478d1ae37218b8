"""The functions of the Python API, a file for each command: its options, its work, its result.

Options are frozen dataclasses whose defaults are the command's; results are frozen dataclasses that print (str) and
save themselves. caffe2_mobile/__init__.py names what is public.
"""
