import gzip
import json
import os
import zipfile

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from runtime_lut import table as table_module
from runtime_lut.signature import Signature
from runtime_lut.table import Table, devices_in, find_table

KERNEL_1 = ('name: "kernel"\ni: 1\n', 'name: "order"\ns: "NHWC"\n')
CONV_SHAPES = ((1, 8, 8, 16), (32, 1, 1, 16), (32,))


def relu(size=8):
    return Signature("Int8Relu", "", ((1, size, size, 16),), (6,))


def test_several_records_of_one_operator_follow_the_policy(make_record, make_table):
    path = make_table([make_record(us=us) for us in (30.0, 10.0, 26.0)])
    times = {policy: Table.load(path, "phone", policy).time(relu()) for policy in table_module.POLICIES}
    assert times == {"ave": 22.0, "min": 10.0, "max": 30.0, "last": 26.0}
    match = Table.load(path, "phone").find(relu())
    assert match.medians == [30.0, 10.0, 26.0]
    assert match.percentile("p100") == pytest.approx(44.0)
    with pytest.raises(ModelError, match="policy"):
        Table.load(path, "phone", "median")


@pytest.mark.parametrize("name", table_module.DATABASE_NAMES)
@pytest.mark.parametrize("packing", table_module.PACKINGS)
def test_both_names_and_all_packings_are_found_and_read(make_record, tmp_path, name, packing):
    content = json.dumps(make_record()).encode() + b"\n"
    path = tmp_path / f"phone-{name}{packing}"
    if packing == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"data/phone-{name}", content)
            archive.writestr(f"__MACOSX/data/._phone-{name}", b"")
    else:
        path.write_bytes(gzip.compress(content) if packing else content)
    assert devices_in(tmp_path) == ["phone"]
    assert find_table(tmp_path, "phone") == path
    assert find_table(tmp_path, "other") is None
    assert Table.load(path, "phone").time(relu()) == 10.0


def test_int8conv_takes_the_time_of_int8convrelu_where_it_has_none_itself(make_record):
    relu_record = make_record("Int8ConvRelu", KERNEL_1, CONV_SHAPES, (6, 6, 2), 50.0)
    conv_record = make_record("Int8Conv", KERNEL_1, CONV_SHAPES, (6, 6, 2), 70.0)
    conv = Signature.of_record(conv_record)
    both, only_relu, only_conv = (
        Table.of_records(records, "phone") for records in ([relu_record, conv_record], [relu_record], [conv_record])
    )
    assert both.find(conv).signature.op_type == "Int8Conv"
    assert both.find(conv).time_us == 70.0
    assert only_relu.find(conv).signature.op_type == "Int8ConvRelu"
    assert only_relu.find(conv).time_us == 50.0
    assert only_relu.time(conv) is None
    assert only_conv.find(Signature.of_record(relu_record)) is None


def test_records_of_other_devices_are_not_matched(make_record, make_table):
    path = make_table([make_record(device="tablet", us=1.0), make_record(us=2.0)])
    assert Table.load(path, "phone").time(relu()) == 2.0
    assert len(Table.load(path, "phone")) == 1
    with pytest.raises(ModelError, match=r"nothing measured on watch \(it holds records of phone, tablet\)"):
        Table.load(path, "watch")


def test_the_index_is_used_and_follows_its_table(make_record, make_table, cache, monkeypatch):
    path = make_table([make_record(us=10.0)])
    assert Table.load(path, "phone").time(relu()) == 10.0
    (index,) = (cache / "lut").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(table_module, "_compile", None)  # cannot be called: the index must serve
        table = Table.load(path, "phone")
        assert table.time(relu()) == 10.0
        assert [time for _, time in table.records()] == [10.0]
    times = os.stat(path)
    path.write_text(path.read_text().replace("10.0", "12.0"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same date: the content counts
    assert Table.load(path, "phone").time(relu()) == 12.0
    assert len(list((cache / "lut").iterdir())) == 2
    assert index.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "nonsense"])
def test_a_damaged_index_is_made_anew(make_record, make_table, cache, monkeypatch, damage):
    path = make_table([make_record(us=float(us), shapes=((1, us, us, 16),)) for us in range(1, 40)])
    Table.load(path, "phone")
    (index,) = (cache / "lut").iterdir()
    good = index.read_bytes()
    flipped = bytearray(good)
    flipped[good.index(b"percentiles.npy") + 400] ^= 0xFF
    index.write_bytes(
        {"empty": b"", "cut": good[: len(good) // 2], "flipped": bytes(flipped), "nonsense": b"x" * 999}[damage]
    )
    table = Table.load(path, "phone")
    assert table.time(relu(7)) == 7.0
    assert len(list(table.records())) == 39
    monkeypatch.setattr(table_module, "_compile", None)  # cannot be called: the new index must serve
    assert Table.load(path, "phone").time(relu(39)) == 39.0


def test_a_cache_that_cannot_be_written_does_no_harm(make_record, make_table, tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("CAFFE2_MOBILE_CACHE", str(blocker / "below"))
    assert Table.load(make_table([make_record()]), "phone").time(relu()) == 10.0


def spoiled(record, **changes):
    return json.dumps({key: value for key, value in (record | changes).items() if value is not None})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: "{", "line 2: not a record"),
        (lambda r: "[1, 2]", "line 2: not a record"),
        (lambda r: spoiled(r, op_args=None), "line 2: the record has no op_args"),
        (lambda r: spoiled(r, op_args=["kernel 3"]), "line 2: .*protobuf text form"),
        (lambda r: spoiled(r, input_shapes=[[1, "x"]]), "line 2: not a record"),
        (lambda r: spoiled(r, input_shapes=3), "line 2: not a record"),
        (lambda r: spoiled(r, runtime_us_p50="soon"), "line 2: not a record"),
        (lambda r: spoiled(r, runtime_us_p50=-1.0), "negative"),
        (lambda r: spoiled(r, runtime_us_p50=float("nan")), "negative or no number"),
    ],
)
def test_a_spoiled_table_is_refused_in_one_line(make_record, tmp_path, spoil, message):
    path = tmp_path / "phone-op_lut_database.json"
    path.write_text(f"{json.dumps(make_record())}\n{spoil(make_record())}\n")
    with pytest.raises(ModelError, match=message) as caught:
        Table.load(path, "phone")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_and_oversized_archives_are_refused(make_record, tmp_path, monkeypatch):
    path = tmp_path / "phone-op_lut_database.json.zip"
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ModelError, match="damaged archive"):
        Table.load(path, "phone")
    packed = tmp_path / "phone-op_lut_database.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(make_record()).encode())[:-9])
    with pytest.raises(ModelError, match="damaged archive"):
        Table.load(packed, "phone")
    monkeypatch.setattr(table_module, "MAX_TABLE_BYTES", 1000)
    packed.write_bytes(gzip.compress(b" " * 5000))
    with pytest.raises(ModelError, match="unpacks to more than"):
        Table.load(packed, "phone")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("phone-op_lut_database.json", b" " * 5000)
    with pytest.raises(ModelError, match="unpacks to more than"):
        Table.load(path, "phone")


def test_a_table_knows_its_records_by_type(x86_table):
    records = list(x86_table.records(["Int8ChannelShuffle", "NoSuchOperator"]))
    assert {record["op_type"] for record, _ in records} == {"Int8ChannelShuffle"}
    assert all(x86_table.time(Signature.of_record(record)) == time for record, time in records)
    assert sum(1 for _ in x86_table.records()) == len(x86_table)


def test_what_make_record_writes_is_read_back(tmp_path, published_steps):
    signature = Signature("Int8Conv", 'kernel=[1, 1] order="NHWC"', CONV_SHAPES, (6, 6, 2))
    made = table_module.make_record("Int8Conv", KERNEL_1, CONV_SHAPES, (6, 6, 2), np.arange(5.0), "phone", engine="x")
    table = Table.of_records([made], "phone")
    assert table.find(signature).percentiles.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]]
