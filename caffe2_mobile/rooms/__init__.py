"""Where the wheel has exporters, mobile_cv, runtime_lut and validate: names that in site-packages belong to everybody.

Empty in a checkout, where these packages are the repository's own folders: setup.py moves them and renames imports.
"""
