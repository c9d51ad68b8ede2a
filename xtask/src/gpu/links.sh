#!/bin/sh
# links.sh FOLDER: fills FOLDER with links to the CUDA libraries that PyTorch has brought, by their own names and by names
# without a version, and prints the folders in which they lie. Without Python, or without such libraries, it makes no link.
folder=$1
rm -rf "$folder" && mkdir -p "$folder" || exit 1
command -v python3 >/dev/null 2>&1 || exit 0
python3 - <<'PYTHON' | while IFS= read -r place; do
import glob, os, site, sys, sysconfig
places = [sysconfig.get_path(name) for name in ("purelib", "platlib")] + sys.path
try:
    places += site.getsitepackages() + [site.getusersitepackages()]
except Exception:
    pass
seen = set()
for place in places:
    for library in sorted(glob.glob(os.path.join(place or ".", "nvidia", "*", "lib"))):
        if os.path.realpath(library) not in seen:
            seen.add(os.path.realpath(library))
            print(library)
PYTHON
    for library in "$place"/lib*.so.*; do
        [ -e "$library" ] || continue
        name=${library##*/}
        for link in "$name" "${name%%.so.*}.so"; do
            [ -e "$folder/$link" ] || ln -s "$library" "$folder/$link"
        done
    done
    echo "$place"
done
