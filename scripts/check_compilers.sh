#!/usr/bin/env bash
# Whether the C library and its example compile for the machines that are not at hand: macOS and Windows, on 64-bit ARM and
# x86-64, and Linux on both; by clang as the package ziglang brings it (pip install ziglang), with all headers of
# these systems.
#
# usage: scripts/check_compilers.sh [TARGET...]
#
# All sources but the Python module's own, which need Python's headers for the target. Exit status 1 where one fails.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
targets=("$@")
[ $# -gt 0 ] || targets=(aarch64-macos x86_64-macos aarch64-windows-gnu x86_64-windows-gnu
    aarch64-linux-gnu.2.28 x86_64-linux-gnu.2.28)

if ! "$python" -m ziglang version >/dev/null 2>&1; then
    echo "check_compilers.sh: no ziglang; pip install ziglang" >&2
    exit 2
fi
failed=0
for target in "${targets[@]}"; do
    mkdir "$folder/$target"
    grep -LE 'pybind11|"(arrays|detection)\.h"' caffe2_models/kernels/*.cpp | while read -r source; do
        echo "$target $source $folder/$target/$(basename "$source").o"
    done
done | xargs -P "$(nproc)" -n 3 sh -c '"$0" -m ziglang c++ -target "$1" -std=c++20 -O0 -Wall -Wextra -Werror \
    -Wno-psabi -c "$2" -o "$3" || { echo "$2 does not compile for $1" >&2; exit 1; }' "$python" || failed=1
for target in "${targets[@]}"; do
    "$python" -m ziglang cc -target "$target" -Wall -Wextra -Werror -Icaffe2_models/kernels \
        -c scripts/phone/classify.c -o "$folder/$target/classify.o" || failed=1
done
[ "$failed" = 0 ] && echo "the library and its example compile for ${targets[*]}"
exit "$failed"
