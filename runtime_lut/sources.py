"""Where a device's latencies come from: its table, or the estimates that come with this package."""

from dataclasses import dataclass
from pathlib import Path

from caffe2_common.downloads import cache_dir
from caffe2_common.errors import ModelError
from runtime_lut.estimate import DEFAULT_DEVICE, Estimator
from runtime_lut.table import Table, devices_in, find_table


@dataclass(frozen=True)
class Sources:
    """A table and, where asked for or where there is no table, an estimator. note: what a user should know of them."""

    table: Table | None
    estimator: Estimator | None
    note: str = ""


def find_sources(
    device: str | None = None, db_dir: Path | None = None, mode: str = "ave", estimate: bool = False
) -> Sources:
    """The sources of a device's latencies.

    device: default the only one in the folder, or the Samsung S8. db_dir: folder of DEVICE-op_lut_database.json files;
    default where downloads go. mode: what several records of one operator give. estimate: estimate what the table
    lacks. Raises ModelError where nothing is known of the device.
    """
    folder = db_dir if db_dir is not None else cache_dir() / "runtime_lut" / "data"
    if db_dir is not None and not folder.is_dir():
        raise ModelError(f"{folder}: no such folder of latency tables")
    present = devices_in(folder)
    device = device or (present[0] if len(present) == 1 else DEFAULT_DEVICE)
    path = find_table(folder, device)
    shipped = Estimator.shipped(device)
    if path is not None:
        table = Table.load(path, device, mode)
        return Sources(table, Estimator.of_table(table, shipped) if estimate else None)
    where = f"{folder} has no table of {device}" + (f" (but of {', '.join(present)})" if present else "")
    if shipped is None:
        raise ModelError(f"{where}; give --db-dir, or measure one with caffe2-mobile build-lut")
    return Sources(None, shipped, f"{where}: its times are estimated" if db_dir is not None else "")
