"""How many objects our session's scores and boxes give with pytorch-ssd's own suppression: PREFIX IMAGE"""

import sys

import cv2
import numpy as np
from vision.utils.box_utils_numpy import hard_nms

from caffe2_mobile import load_net

prefix, path = sys.argv[1:]
image = cv2.resize(cv2.cvtColor(cv2.VideoCapture(path).read()[1], cv2.COLOR_BGR2RGB), (300, 300))
net = load_net(f"{prefix}.predict.pb", f"{prefix}.init.pb")
results = net.session().run({net.inputs[0]: ((image.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]})
scores, boxes = results["scores"][0], results["boxes"][0]
count = 0
for column in scores.T[1:]:
    chosen = column > 0.55
    if chosen.any():
        count += len(hard_nms(np.concatenate([boxes[chosen], column[chosen, None]], 1), iou_threshold=0.5))
print(count)
