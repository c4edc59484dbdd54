#!/usr/bin/env bash
# Builds the plugin for every platform of krew/ambient.yaml, packs each with the
# license, and writes the manifest with their checksums.
#
# usage: krew/dist.sh VERSION, such as v0.1.0
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1:?usage: krew/dist.sh VERSION}
if [[ ! $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "krew/dist.sh: $version is not a semantic version with a leading v" >&2
	exit 2
fi
rm -rf dist
mkdir -p dist
manifest=$(sed "/^#/d; s/@VERSION@/$version/g" krew/ambient.yaml)
for platform in $(grep -o '@SHA256_[a-z0-9_]*@' krew/ambient.yaml | sed 's/@SHA256_\(.*\)@/\1/'); do
	os=${platform%_*}
	arch=${platform#*_}
	binary=kubectl-ambient
	[[ $os == windows ]] && binary+=.exe
	echo "building $os/$arch" >&2
	CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$version" -o "dist/$platform/$binary" ./cmd/kubectl-ambient
	cp LICENSE "dist/$platform/"
	archive=dist/kubectl-ambient_${version}_$platform.tar.gz
	tar -C "dist/$platform" -czf "$archive" "$binary" LICENSE
	rm -r "dist/${platform:?}"
	sum=$(sha256sum "$archive" | cut -d' ' -f1)
	manifest=${manifest//@SHA256_$platform@/$sum}
done
printf '%s\n' "$manifest" >dist/ambient.yaml
echo "dist/ambient.yaml" >&2
