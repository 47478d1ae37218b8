"""caffe2.python.predictor.predictor_py_utils: the parts of a MetaNetDef."""

from collections.abc import Iterable
from typing import Any

from caffe2_mobile.compat.python import core, scope


def create_predict_net(predictor_export_meta: Any) -> Any:
    """The predict net, with inputs and outputs as the export has them."""
    source = predictor_export_meta.predict_net
    proto = core.Net(source.name or "predict").Proto()
    proto.op.extend(source.op)
    proto.partition_info.extend(source.partition_info)
    proto.external_input.extend(predictor_export_meta.inputs + predictor_export_meta.parameters)
    proto.external_output.extend(predictor_export_meta.outputs)
    proto.arg.extend(source.arg)
    if predictor_export_meta.net_type is not None:
        proto.type = predictor_export_meta.net_type
    if predictor_export_meta.num_workers is not None:
        proto.num_workers = predictor_export_meta.num_workers
    return proto


def create_predict_init_net(ws: Any, predictor_export_meta: Any) -> Any:
    """A net that fills inputs and outputs with zeros, in the shapes given or those of the workspace."""
    net = core.Net("predict-init")
    blobs = predictor_export_meta.inputs + predictor_export_meta.outputs
    with scope.EmptyDeviceScope():
        for blob in blobs:
            shape = predictor_export_meta.shapes.get(blob)
            if shape is None:
                if not ws.has_blob(blob):
                    raise Exception(f"{blob} not in workspace but needed for shape: {sorted(ws.blobs)}")
                shape = ws.fetch_blob(blob).shape
            net.ConstantFill([], blob, shape=shape, value=0.0)
    net.Proto().external_input.extend(blobs)
    if predictor_export_meta.extra_init_net:
        net.AppendNet(predictor_export_meta.extra_init_net)
    AddModelIdArg(predictor_export_meta, net.Proto())
    return net.Proto()


def get_comp_name(string: str, name: str) -> str:
    return f"{string}_{name}" if name else string


def _ProtoMapGet(field: Iterable[Any], key: str) -> Any:
    return next((entry.value for entry in field if entry.key == key), None)


def GetPlan(meta_net_def: Any, key: str) -> Any:
    return _ProtoMapGet(meta_net_def.plans, key)


def GetNet(meta_net_def: Any, key: str) -> Any:
    return _ProtoMapGet(meta_net_def.nets, key)


GetPlanOriginal, GetNetOriginal = GetPlan, GetNet


def GetBlobs(meta_net_def: Any, key: str) -> Any:
    blobs = _ProtoMapGet(meta_net_def.blobs, key)
    return [] if blobs is None else blobs


def GetBlobsByTypePrefix(meta_net_def: Any, blob_type_prefix: str) -> list[str]:
    """Blobs of all keys with this prefix, each once, in order."""
    entries = [entry for entry in meta_net_def.blobs if entry.key.startswith(blob_type_prefix)]
    return list(dict.fromkeys(blob for entry in entries for blob in entry.value))


def GetApplicationSpecificInfo(meta_net_def: Any, key: str) -> Any:
    return _ProtoMapGet(meta_net_def.applicationSpecificInfo, key)


def AddBlobs(meta_net_def: Any, blob_name: str, blob_def: Iterable[str]) -> None:
    blobs = _ProtoMapGet(meta_net_def.blobs, blob_name)
    if blobs is None:
        blobs = meta_net_def.blobs.add(key=blob_name).value
    blobs.extend(blob_def)


def ReplaceBlobs(meta_net_def: Any, blob_name: str, blob_def: Iterable[str]) -> None:
    blobs = _ProtoMapGet(meta_net_def.blobs, blob_name)
    assert blobs is not None, f"The blob_name:{blob_name} does not exist"
    blobs[:] = list(blob_def)


def AddPlan(meta_net_def: Any, plan_name: str, plan_def: Any) -> None:
    meta_net_def.plans.add(key=plan_name, value=plan_def)


def AddNet(meta_net_def: Any, net_name: str, net_def: Any) -> None:
    meta_net_def.nets.add(key=net_name, value=net_def)


def SetBlobsOrder(meta_net_def: Any, blobs_order: Iterable[str]) -> None:
    meta_net_def.blobsOrder.extend(blobs_order)


def GetBlobsOrder(meta_net_def: Any) -> Any:
    return meta_net_def.blobsOrder


def SetPreLoadBlobs(meta_net_def: Any, pre_load_blobs: Iterable[str]) -> None:
    meta_net_def.preLoadBlobs.extend(pre_load_blobs)


def SetRequestOnlyEmbeddings(meta_net_def: Any, request_only_embeddings: Iterable[str]) -> None:
    meta_net_def.requestOnlyEmbeddings.extend(request_only_embeddings)


def SetTensorBoundShapes(meta_net_def: Any, tensor_bound_shapes: Any) -> None:
    meta_net_def.tensorBoundShapes.CopyFrom(tensor_bound_shapes)


def SetAOTConfig(meta_net_def: Any, aot_config: Any) -> None:
    meta_net_def.aotConfig.CopyFrom(aot_config)


def GetArgumentByName(net_def: Any, arg_name: str) -> Any:
    return next((arg for arg in net_def.arg if arg.name == arg_name), None)


def AddModelIdArg(meta_net_def: Any, net_def: Any) -> None:
    """Give a net the model_id of the predict net, where that has one."""
    model_id = GetArgumentByName(meta_net_def.predict_net, "model_id")
    if model_id is not None:
        argument = GetArgumentByName(net_def, "model_id") or net_def.arg.add(name="model_id")
        argument.i = model_id.i
