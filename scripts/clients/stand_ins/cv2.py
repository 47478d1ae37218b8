"""OpenCV without a screen: a frame that is shown goes to the file $SHOWN, after which q is pressed."""

import importlib
import os
import sys

_here = next(entry for entry in sys.path if os.path.isdir(entry) and os.path.samefile(entry, os.path.dirname(__file__)))
sys.path.remove(_here)
del sys.modules["cv2"]
_opencv = importlib.import_module("cv2")  # the real one, which the import of this module gives from now on
_opencv.imshow = lambda title, image: _opencv.imwrite(os.environ["SHOWN"], image)
_opencv.waitKey = lambda delay=0: ord("q")
_opencv.destroyAllWindows = lambda: None
sys.path.insert(0, _here)
