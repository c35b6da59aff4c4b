#!/bin/sh
# Fetches echarts, which the report inlines, from npm: the version and the
# digest are those of package-lock.json. Usage: setup/echarts.sh FOLDER
set -eu
folder=$1

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

npm --version >/dev/null 2>&1 ||
	fail "the report's charts are fetched with npm, which is not here. Get it with node:" \
		"apt-get install nodejs npm (Debian), brew install node (Mac)"

mkdir -p .deps
work=$(mktemp -d .deps/npm.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
say "fetching $folder with npm, once"
cp setup/package.json setup/package-lock.json "$work"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier)
mkdir "$work/out"
cp "$work/node_modules/echarts/dist/echarts.min.js" "$work/out/echarts.min.js"
cp "$work/node_modules/echarts/LICENSE" "$work/out/echarts.LICENSE"
cp "$work/node_modules/echarts/NOTICE" "$work/out/echarts.NOTICE"
cp "$work/node_modules/zrender/LICENSE" "$work/out/echarts.zrender.LICENSE"
mv "$work/out" "$folder"
say "fetched $folder"
