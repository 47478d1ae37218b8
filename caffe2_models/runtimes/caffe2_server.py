"""Runs nets with the real Caffe2; a script for the interpreter that has it (CPython 3.6 to 3.9), or a module.

As a script it answers requests on its standard input until that ends. A message is two lengths (little-endian
uint32, uint64), a JSON header and the bytes of its arrays one after the other; the header lists each array's
name, dtype and shape, and scale and zero_point for quantized ones. Nothing of this project is imported here.
"""

import json
import os
import struct
import sys
import time

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are not for the interpreter that runs this script

import numpy as np

LENGTHS = struct.Struct("<IQ")


class Int8Array:
    """A quantized blob on its way in or out."""

    def __init__(self, data, scale, zero_point):
        self.data, self.scale, self.zero_point = data, float(scale), int(zero_point)


class Server:
    """Nets by number, each in a workspace of its own."""

    def __init__(self, threads=None):
        from caffe2.python import core, workspace

        self.core, self.workspace = core, workspace
        flags = ["caffe2", "--caffe2_log_level=3"]
        if threads is not None:
            flags.append(f"--caffe2_omp_num_threads={threads}")
            flags.append(f"--caffe2_mkl_num_threads={threads}")
            if threads == 1:
                flags.append("--caffe2_threadpool_force_inline=1")
        core.GlobalInit(flags)
        self.names = {}

    def load(self, number, inputs, init, predict):
        """Fill the parameters and make the net, whose inputs are fed later."""
        self.workspace.SwitchWorkspace(f"net{number}", True)
        self.workspace.ResetWorkspace()
        if init:
            self.workspace.RunNetOnce(init)
        for name in inputs:
            self.workspace.CreateBlob(name)
        self.workspace.C.create_net(predict, True)
        self.names[number] = self._name_of(predict)

    def unload(self, number):
        self.workspace.SwitchWorkspace(f"net{number}", True)
        self.workspace.ResetWorkspace()
        self.names.pop(number, None)

    def run(self, number, feeds, outputs):
        """The blobs named by `outputs` after one run."""
        self._feed(number, feeds)
        self.workspace.RunNet(self.names[number])
        return [(name, self._fetch(name)) for name in outputs]

    def benchmark(self, number, feeds, warmup, runs):
        """[milliseconds of the whole net, of each operator...] as Caffe2's own benchmark gives them."""
        self._feed(number, feeds)
        return list(self.workspace.BenchmarkNet(self.names[number], warmup, runs, True))

    def processor_time(self, number, feeds):
        """Milliseconds of processor time of one run, after one that has filled the caches."""
        self._feed(number, feeds)
        self.workspace.RunNet(self.names[number])
        start = time.process_time()
        self.workspace.RunNet(self.names[number])
        return 1000 * (time.process_time() - start)

    def _feed(self, number, feeds):
        self.workspace.SwitchWorkspace(f"net{number}")
        for name, value in feeds:
            if isinstance(value, Int8Array):
                kind = "Int8GivenTensorFill" if value.data.dtype == np.uint8 else "Int8GivenIntTensorFill"
                content = value.data.tobytes() if value.data.dtype == np.uint8 else value.data.ravel().tolist()
                arguments = {"values": content, "shape": list(value.data.shape)}
                arguments.update(Y_scale=value.scale, Y_zero_point=value.zero_point)
                self.workspace.RunOperatorOnce(self.core.CreateOperator(kind, [], [name], **arguments))
            else:
                self.workspace.FeedBlob(name, value)

    def _fetch(self, name):
        value = self.workspace.C.fetch_blob(name)
        if isinstance(value, tuple):
            return Int8Array(*value)
        if not isinstance(value, np.ndarray):
            raise RuntimeError(f"blob {name} holds no tensor")
        return value

    @staticmethod
    def _name_of(predict):
        from caffe2.proto import caffe2_pb2

        net = caffe2_pb2.NetDef()
        net.ParseFromString(predict)
        return net.name


def write_message(stream, header, arrays=()):
    """Send a JSON-able header and (name, array or Int8Array) pairs."""
    contents, described = [], []
    for name, value in arrays:
        quantized = isinstance(value, Int8Array)
        data = np.ascontiguousarray(value.data if quantized else value)
        entry = {
            "name": name,
            "dtype": data.dtype.str,
            "shape": list(np.shape(value.data if quantized else value)),
        }
        if quantized:
            entry.update(scale=value.scale, zero_point=value.zero_point)
        described.append(entry)
        contents.append(data.tobytes())
    text = json.dumps(dict(header, arrays=described)).encode()
    stream.write(LENGTHS.pack(len(text), sum(map(len, contents))) + text)
    for content in contents:
        stream.write(content)
    stream.flush()


def read_message(stream):
    """(header, [(name, array or Int8Array)]), or None at the stream's end."""
    lengths = _read(stream, LENGTHS.size)
    if lengths is None:
        return None
    header_length, content_length = LENGTHS.unpack(lengths)
    text, content = _read(stream, header_length), _read(stream, content_length)
    if text is None or content is None:
        return None
    header, arrays, offset = json.loads(text.decode()), [], 0
    for entry in header.pop("arrays"):
        dtype, count = np.dtype(entry["dtype"]), int(np.prod(entry["shape"], dtype=np.int64))
        data = np.frombuffer(content, dtype, count, offset).reshape(entry["shape"])
        offset += data.nbytes
        arrays.append(
            (
                entry["name"],
                Int8Array(data, entry["scale"], entry["zero_point"]) if "scale" in entry else data,
            )
        )
    return header, arrays


def _read(stream, length):
    content = stream.read(length) if length else b""
    return content if len(content) == length else None


def answer(server, header, arrays):
    """(header, arrays) of the reply to one request."""
    command, number = header["command"], header["number"]
    if command == "load":
        server.load(number, header["inputs"], *(array.tobytes() for _, array in arrays))
    elif command == "run":
        return {}, server.run(number, arrays, header["outputs"])
    elif command == "benchmark":
        return {"milliseconds": server.benchmark(number, arrays, header["warmup"], header["runs"])}, []
    elif command == "processor_time":
        return {"milliseconds": server.processor_time(number, arrays)}, []
    elif command == "unload":
        server.unload(number)
    return {}, []


def main():
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Caffe2 prints goes to stderr, not among the replies
    server = Server(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    write_message(replies, {"ready": True})
    while True:
        request = read_message(requests)
        if request is None:
            return
        try:
            write_message(replies, *answer(server, *request))
        except Exception as error:
            write_message(replies, {"error": str(error) or type(error).__name__})


if __name__ == "__main__":
    main()
