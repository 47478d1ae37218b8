"""caffe2.python.predictor.predictor_exporter: a net and its parameters in one database."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import caffe2_mobile.compat.python.predictor.predictor_py_utils as utils
from caffe2_mobile.compat.proto import caffe2_pb2, metanet_pb2
from caffe2_mobile.compat.python import core, scope, workspace
from caffe2_mobile.compat.python.predictor import serde
from caffe2_mobile.compat.python.predictor_constants import predictor_constants


class _Meta(NamedTuple):
    predict_net: Any
    parameters: list[str]
    inputs: list[str]
    outputs: list[str]
    shapes: Mapping[str, Any]
    name: str
    extra_init_net: Any
    global_init_net: Any
    net_type: str | None
    num_workers: int | None
    trainer_prefix: str | None


class PredictorExportMeta(_Meta):
    """What is exported: a net (core.Net, NetDef or PlanDef), and its parameters, inputs and outputs by name.

    shapes: of inputs and outputs, where the workspace does not have them. name: tells several nets of a database
    apart. extra_init_net and global_init_net are run when the net, or its parameters, are loaded.
    """

    def __new__(
        cls,
        predict_net: Any,
        parameters: Iterable[Any],
        inputs: Iterable[Any],
        outputs: Iterable[Any],
        shapes: Mapping[str, Any] | None = None,
        name: str = "",
        extra_init_net: Any = None,
        global_init_net: Any = None,
        net_type: str | None = None,
        num_workers: int | None = None,
        trainer_prefix: str | None = None,
    ) -> "PredictorExportMeta":
        names = {"inputs": list(map(str, inputs)), "outputs": list(map(str, outputs))}
        parameters = list(map(str, parameters))
        assert len(set(names["inputs"])) == len(names["inputs"]), "All inputs to the predictor should be unique"
        for kind, blobs in names.items():
            both = set(parameters) & set(blobs)
            assert not both, f"Parameters and {kind} are required to be disjoint. Intersection: {both}"
        if isinstance(predict_net, core.Net | core.Plan):
            predict_net = predict_net.Proto()
        assert isinstance(predict_net, caffe2_pb2.NetDef | caffe2_pb2.PlanDef)
        return super().__new__(
            cls,
            predict_net,
            parameters,
            names["inputs"],
            names["outputs"],
            shapes or {},
            name,
            extra_init_net,
            global_init_net,
            net_type,
            num_workers,
            trainer_prefix,
        )

    def _named(self, kind: str) -> str:
        return utils.get_comp_name(kind, self.name)

    def inputs_name(self) -> str:
        return self._named(predictor_constants.INPUTS_BLOB_TYPE)

    def outputs_name(self) -> str:
        return self._named(predictor_constants.OUTPUTS_BLOB_TYPE)

    def parameters_name(self) -> str:
        return self._named(predictor_constants.PARAMETERS_BLOB_TYPE)

    def global_init_name(self) -> str:
        return self._named(predictor_constants.GLOBAL_INIT_NET_TYPE)

    def predict_init_name(self) -> str:
        return self._named(predictor_constants.PREDICT_INIT_NET_TYPE)

    def predict_net_name(self) -> str:
        return self._named(predictor_constants.PREDICT_NET_TYPE)

    def train_init_plan_name(self) -> str:
        return self._of_trainer(predictor_constants.TRAIN_INIT_PLAN_TYPE)

    def train_plan_name(self) -> str:
        return self._of_trainer(predictor_constants.TRAIN_PLAN_TYPE)

    def _of_trainer(self, kind: str) -> str:
        return f"{self.trainer_prefix}_{self._named(kind)}" if self.trainer_prefix else self._named(kind)


def get_predictor_exporter_helper(submodelNetName: str) -> PredictorExportMeta:
    """A meta that only tells the names of a net's parts."""
    return PredictorExportMeta(core.Net(submodelNetName), [], [], [], name=submodelNetName)


def prepare_prediction_net(filename: str, db_type: str, device_option: Any = None) -> core.Net:
    """Load a database into the workspace, and create its net, ready to be run."""
    meta = load_from_db(filename, db_type, device_option)
    workspace.RunNetOnce(utils.GetNet(meta, predictor_constants.GLOBAL_INIT_NET_TYPE))
    workspace.RunNetOnce(utils.GetNet(meta, predictor_constants.PREDICT_INIT_NET_TYPE))
    predict_net = core.Net(utils.GetNet(meta, predictor_constants.PREDICT_NET_TYPE))
    workspace.CreateNet(predict_net)
    return predict_net


def _global_init_net(predictor_export_meta: PredictorExportMeta, db_type: str | None) -> Any:
    """What loads the parameters."""
    net = core.Net("global-init")
    if db_type != "manifold_db":
        net.Load([predictor_constants.PREDICTOR_DBREADER], predictor_export_meta.parameters)
        net.Proto().external_input.extend([predictor_constants.PREDICTOR_DBREADER])
        net.Proto().external_output.extend(predictor_export_meta.parameters)
    if predictor_export_meta.global_init_net:
        net.AppendNet(predictor_export_meta.global_init_net)
    utils.AddModelIdArg(predictor_export_meta, net.Proto())
    return net.Proto()


def get_meta_net_def(predictor_export_meta: PredictorExportMeta, ws: Any = None, db_type: str | None = None) -> Any:
    """The nets and the names of blobs, as the database holds them."""
    ws = ws or workspace.C.Workspace.current
    meta, given = metanet_pb2.MetaNetDef(), predictor_export_meta
    utils.AddNet(meta, given.predict_init_name(), utils.create_predict_init_net(ws, given))
    utils.AddNet(meta, given.global_init_name(), _global_init_net(given, db_type))
    utils.AddNet(meta, given.predict_net_name(), utils.create_predict_net(given))
    utils.AddBlobs(meta, given.parameters_name(), given.parameters)
    utils.AddBlobs(meta, given.inputs_name(), given.inputs)
    utils.AddBlobs(meta, given.outputs_name(), given.outputs)
    return meta


def set_model_info(meta_net_def: Any, project_str: str, model_class_str: str, version: str) -> None:
    assert isinstance(meta_net_def, metanet_pb2.MetaNetDef)
    info = meta_net_def.modelInfo
    info.project, info.modelClass, info.version = project_str, model_class_str, version


def save_to_db(
    db_type: str,
    db_destination: str,
    predictor_export_meta: PredictorExportMeta,
    use_ideep: bool = False,
    *args: Any,
    **kwargs: Any,
) -> None:
    """Save the nets, and the parameters from the workspace."""
    meta = get_meta_net_def(predictor_export_meta, db_type=db_type)
    workspace.FeedBlob(predictor_constants.META_NET_DEF, serde.serialize_protobuf_struct(meta))
    blobs = [predictor_constants.META_NET_DEF, *predictor_export_meta.parameters]
    device = core.DeviceOption(caffe2_pb2.IDEEP if use_ideep else caffe2_pb2.CPU)
    arguments = {"absolute_path": True, "db": db_destination, "db_type": db_type, **kwargs}
    workspace.RunOperatorOnce(core.CreateOperator("Save", blobs, [], device_option=device, **arguments))


def load_from_db(filename: str, db_type: str, device_option: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The database's MetaNetDef; its parameters are loaded by its own global init net."""
    reader, meta_blob = predictor_constants.PREDICTOR_DBREADER, predictor_constants.META_NET_DEF
    create = core.CreateOperator("CreateDB", [], [core.BlobReference(reader)], db=filename, db_type=db_type)
    assert workspace.RunOperatorOnce(create), f"Failed to create db {filename}"
    load = core.CreateOperator("Load", [core.BlobReference(reader)], [core.BlobReference(meta_blob)])
    assert workspace.RunOperatorOnce(load)
    meta = serde.deserialize_protobuf_struct(workspace.FetchBlob(meta_blob), metanet_pb2.MetaNetDef)
    device = scope.CurrentDeviceScope() if device_option is None else device_option
    if device is not None:
        for op in (op for entry in meta.nets for op in entry.value.op):
            op.device_option.CopyFrom(device)
    return meta
