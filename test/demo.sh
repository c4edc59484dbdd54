#!/usr/bin/env bash
# Moves a bookshop from sidecars to ambient mode and back, on a control plane of
# its own, and shows every command with what it prints. Nothing is left running.
set -euo pipefail
cd "$(dirname "$0")/.."

name=demo-$$
controlplane=$(mktemp -d)/controlplane
(cd test/controlplane && go build -o "$controlplane" ./cmd/controlplane)
cleanup() {
	"$controlplane" down --name "$name" >/dev/null || true
	rm -rf "$(dirname "$controlplane")"
}
trap cleanup EXIT

echo '# A control plane with the ambient profile of Istio'
environment=$("$controlplane" up --name "$name" --nodes 3)
eval "$environment"
programs=$("$controlplane" build)
PATH=$PWD/bin:$programs:$PATH

show() {
	printf '\n$ %s\n' "$*"
	"$@"
}

show kubectl create namespace bookinfo
show kubectl label namespace bookinfo istio-injection=enabled
show kubectl apply -n bookinfo -f testdata/apps/bookinfo.yaml
show kubectl apply -n bookinfo -f testdata/apps/bookinfo-get.yaml
kubectl rollout status deployment -n bookinfo --timeout=120s >/dev/null

show kubectl ambient status
show kubectl ambient plan -n bookinfo
show kubectl ambient enroll -n bookinfo --yes
show kubectl ambient verify -n bookinfo
show kubectl ambient status
show kubectl ambient rollback -n bookinfo --yes
show kubectl ambient status
