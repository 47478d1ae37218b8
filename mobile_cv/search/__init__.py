"""FBNet's differentiable search over a stochastic supernet, with latencies from a table.

>>> from mobile_cv.search import LatencyTable, Search, SearchSettings, TargetLoss, get_space, open_data
"""

from caffe2_common.errors import ModelError
from mobile_cv.search.images import Data, open_data
from mobile_cv.search.latency import LatencyTable, read_text_table, violations
from mobile_cv.search.losses import LOSSES, AnnaFBNetLoss, PaperLoss, TargetLoss
from mobile_cv.search.processes import Processes
from mobile_cv.search.search import Found, Search, random_networks
from mobile_cv.search.space import SPACES, SearchSpace, Stage, get_space
from mobile_cv.search.supernet import Choice, Supernet
from mobile_cv.search.training import Training
from mobile_cv.settings import SearchSettings, TrainingSettings

__all__ = [
    "LOSSES",
    "SPACES",
    "AnnaFBNetLoss",
    "Choice",
    "Data",
    "Found",
    "LatencyTable",
    "ModelError",
    "PaperLoss",
    "Processes",
    "Search",
    "SearchSettings",
    "SearchSpace",
    "Stage",
    "Supernet",
    "TargetLoss",
    "Training",
    "TrainingSettings",
    "get_space",
    "open_data",
    "random_networks",
    "read_text_table",
    "violations",
]
