#!/bin/sh
# On Debian, as root, installs the compilers and npm where they are missing;
# elsewhere it does nothing, and whoever needs them says what is missing.
set -eu
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
missing=
for pair in cc:gcc c++:g++ npm:npm; do
	command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
echo "setup: installing$missing with apt-get"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
