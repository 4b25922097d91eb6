#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs tests of the CPU kernels for AArch64 under QEMU, on a machine of another processor. (On an
# AArch64 machine `make test` does that, and at once.) For Debian 12, as root, after
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install g++-aarch64-linux-gnu qemu-user-static
# Usage: tests/aarch64.sh FOLDER PYTHON [PYTEST_ARGUMENT ...]
#   FOLDER  for what is built and fetched (700 MB)
#   PYTHON  that has cmake, ninja and pybind11
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
folder=$(realpath "$1")
python=$(realpath -s "$2")
shift 2
root=$folder/root

# Debian's Python for that architecture, and what it is linked with.
if [ ! -e "$root/usr/bin/python3.11" ]; then
  mkdir -p "$folder/packages"
  (cd "$folder/packages" && apt-get download -q {libc6,libgcc-s1,libstdc++6,libgomp1,zlib1g}:arm64 \
    {python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib,libpython3.11-dev}:arm64 \
    {libexpat1,libssl3,libffi8,libbz2-1.0,liblzma5,libsqlite3-0,libuuid1,libcrypt1}:arm64)
  for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$root"; done
fi

# torch 2.10 is the last whose AArch64 wheel needs no CUDA. It is asked for without what it depends
# on: pip would choose that for the processor it runs on.
if [ ! -e "$folder/site/.complete" ]; then
  rm -rf "$folder/site"
  grep -v '^torch==' constraints.txt > "$folder/constraints.txt"
  install=("$python" -m pip install -q --target "$folder/site" --only-binary :all:
    --python-version 3.11 --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64)
  "${install[@]}" -c "$folder/constraints.txt" numpy sympy jinja2 fsspec filelock typing-extensions \
    networkx safetensors rich scipy scikit-learn hypothesis pytest pytest-benchmark pytest-xdist
  "${install[@]}" --no-deps torch==2.10.0 torch-pruning torchmetrics lightning-utilities
  echo "import sys; sys.executable = '$folder/python'" > "$folder/site/sitecustomize.py"
  touch "$folder/site/.complete"
fi

# That processor's Python as a command of this machine, which tests can start again.
cat > "$folder/python" <<EOF
#!/bin/bash
exec qemu-aarch64-static -L "$root" -E LD_LIBRARY_PATH="$root/usr/lib/aarch64-linux-gnu" \\
  -E PYTHONPATH="\${PYTHONPATH:+\$PYTHONPATH:}$folder/package:$folder/site" "$root/usr/bin/python3.11" "\$@"
EOF
chmod +x "$folder/python"

export PATH="$(dirname "$python"):$PATH"
cmake --preset cpu -B "$folder/build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_CXX_FLAGS="-isystem $root/usr/include" \
  -DPython_EXECUTABLE="$python" -DPython_INCLUDE_DIR="$root/usr/include/python3.11" \
  -DPYTHON_MODULE_EXTENSION=.cpython-311-aarch64-linux-gnu.so
cmake --build "$folder/build"
rm -rf "$folder/package"
cp -r python "$folder/package"
rm -f "$folder"/package/hubprune/_native*.so
cp "$folder"/build/_native*.so "$folder/package/hubprune/"

# Tests may put folders before that package; the PYTHONPATH of this machine's Python may not.
env -u PYTHONPATH "$folder/python" -m pytest -p no:cacheprovider "$@"
