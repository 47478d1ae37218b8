"""Old scripts run: `caffe2.python`, `caffe2.proto` and what lies below them, under their own names.

    import caffe2_mobile.compat
    caffe2_mobile.compat.install()      # from here on `from caffe2.python import workspace` works

python/ and proto/ mirror Caffe2's packages, module by module; runtime/ is what stands behind them.
"""

from caffe2_mobile.compat.importer import install

__all__ = ["install"]
