#!/bin/sh
# MariaDB for the tests where the machine has none: Debian's own packages, unpacked into a
# folder of the clone. No root, nothing installed; where there is no apt, the tests are skipped.
#
#   tests/get_mariadb.sh FOLDER    afterwards FOLDER/bin holds the programs, unless the machine has them
set -eu
folder=$1
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
PATH=$PATH:/usr/sbin:/usr/local/sbin

has() { command -v "$1" >/dev/null 2>&1; }

if has mariadbd && has mariadb-install-db && has mariadb-dump; then exit 0; fi
if ! has apt-get || ! has dpkg-deb; then
    echo "There is no MariaDB here and no apt to fetch it with: its tests will be skipped." >&2
    exit 0
fi

rm -rf "$folder/root" "$folder/bin" "$folder/apt"
mkdir -p "$folder/root" "$folder/bin" "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
# lists of our own: the machine's may be old, and only root may renew them
apt() { apt-get -qq -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" -o APT::Sandbox::User= "$@"; }
apt update
wanted=$(apt -s install --no-install-recommends mariadb-server-core mariadb-client | sed -n 's/^Inst \([^ ]*\).*/\1/p')
# the names are words without blanks
# shellcheck disable=SC2086
(cd "$folder/apt" && apt download $wanted)
for package in "$folder"/apt/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
rm -rf "$folder/apt"

libraries=$(find "$folder/root" -name '*.so*' -exec dirname {} + | grep -v plugin | sort -u | paste -sd: -)
for program in "$folder"/root/usr/bin/* "$folder"/root/usr/sbin/*; do
    case ${program##*/} in
    mariadbd | mariadb-install-db) more=" \"--basedir=$folder/root/usr\"" ;;
    *) more= ;;
    esac
    # exec: a signal to the wrapper is one to the program
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"%s\n' \
        "$libraries" "$program" "$more" >"$folder/bin/${program##*/}"
    chmod +x "$folder/bin/${program##*/}"
done
