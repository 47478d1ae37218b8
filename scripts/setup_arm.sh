#!/usr/bin/env bash
# What it takes to build and run the kernels for 64-bit ARM on this machine: a cross-compiler, an emulator, and an
# arm64 Python with numpy.
#
# usage: scripts/setup_arm.sh [FOLDER]        FOLDER is .arm of the repository where none is given
#
# Prints the folder's path on stdout and nothing else:
#     export ARM_ROOT=$(scripts/setup_arm.sh)
# It holds Debian's arm64 packages, unpacked (nothing of them is installed), numpy and protobuf under site-packages,
# and bin/python, which runs that Python in qemu. QEMU_CPU chooses the processor. The compiler and the emulator are
# Debian's g++-aarch64-linux-gnu and qemu-user; where they are missing they are installed, if this user may.
# A folder that works already is kept. Where none can be made: the reason on stderr, status 1.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$repository/.arm}

fail() {
    echo "setup_arm.sh: $*" >&2
    exit 1
}

has_tools() {
    command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null
}

works() {
    has_tools &&
        "$folder/bin/python" -c 'import google.protobuf, numpy, platform; platform.machine() == "aarch64" or exit(1)' \
            >/dev/null 2>&1
}

install_tools() {
    has_tools && return
    [ "$(id -u)" = 0 ] || fail "no aarch64-linux-gnu-g++ or no qemu-aarch64; install g++-aarch64-linux-gnu and qemu-user"
    apt-get update -qq >&2 || fail "apt-get update failed"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        g++-aarch64-linux-gnu qemu-user >&2 || fail "apt-get could not install g++-aarch64-linux-gnu and qemu-user"
}

# apt-get with lists, cache and status of its own, for arm64: the machine's packages are left alone.
arm_apt_get() {
    local apt=$folder/apt
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    touch "$apt/status"
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User="$(id -un)" \
        -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" -o Debug::NoLocking=1 "$@" >&2
}

unpack_python() {
    arm_apt_get update || fail "apt-get could not read the list of arm64 packages"
    arm_apt_get install -y --no-install-recommends --download-only python3 libpython3-dev libstdc++6 ||
        fail "apt-get could not download the arm64 Python"
    local package
    for package in "$folder"/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$folder" || fail "could not unpack $package"
    done
    rm -rf "$folder/apt"
    mkdir -p "$folder/bin"
    cat >"$folder/bin/python" <<END
#!/bin/sh
export PYTHONHOME="$folder/usr" PYTHONPATH="$folder/site-packages\${PYTHONPATH:+:\$PYTHONPATH}"
exec qemu-aarch64 -L "$folder" "$folder/usr/bin/python3" "\$@"
END
    chmod +x "$folder/bin/python"
}

install_packages() {
    local version
    version=$("$folder/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
        fail "the arm64 Python does not start in qemu"
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$folder/site-packages" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux2014_aarch64 --python-version "$version" --only-binary=:all: \
        -c "$repository/constraints.txt" numpy protobuf >&2 ||
        fail "pip could not download numpy and protobuf for aarch64 and Python $version"
}

if ! works; then
    [ ! -e "$folder" ] || [ -e "$folder/bin/python" ] || [ -e "$folder/apt" ] ||
        fail "$folder exists and is none of ours; name another folder"
    echo "setup_arm.sh: unpacking an arm64 Python into $folder" >&2
    rm -rf "$folder"
    install_tools
    unpack_python
    install_packages
    works || fail "the arm64 Python in $folder does not work"
fi
echo "$folder"
