"""What detectors compute with: boxes, the order of scores, suppression, regions of interest.

Upright boxes are (x1, y1, x2, y2), rotated ones (center x, center y, width, height, angle in degrees,
counter-clockwise), in pixels. Everything is float32 and rounds where Caffe2 1.8.1 does (caffe2/operators/
generate_proposals_op_util_*.h, roi_align_op.cc). What takes long is done by the package's C++ extension where it was
built, else here; both give the same bits.
"""
