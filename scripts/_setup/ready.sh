# Sourced by scripts/localllm, scripts/test and scripts/check, with $root set: makes sure .venv is ready.
# shellcheck shell=sh
#
# The fast path: one cksum over what the set-up was made from, compared with the stamp that the
# set-up writes last. It starts no Python and writes nothing. Stamp, one value a line:
#   the checkout's folder (a moved .venv does not work) · the checksums · the backend installed

# ready KIND: KIND is "run", or "test" for the test dependencies as well.
ready() {
    # Field splitting turns cksum's lines into one; the names hold no spaces.
    # shellcheck disable=SC2046
    ready_key=$(CDPATH='' cd -- "$root" && set -- $(cksum pyproject.toml scripts/setup.py scripts/_setup/*.py) && printf '%s' "$*")
    ready_stamp="$root/.venv/localllm-$1.stamp"
    if [ -x "$root/.venv/bin/python" ] && [ -x "$root/.venv/bin/localllm" ] && [ -r "$ready_stamp" ]; then
        { IFS= read -r ready_root && IFS= read -r ready_was && IFS= read -r ready_backend; } <"$ready_stamp" || ready_root=
        if [ "$ready_root" = "$root" ] && [ "$ready_was" = "$ready_key" ] &&
            [ "${LOCALLLM_BACKEND:-$ready_backend}" = "$ready_backend" ]; then
            return 0
        fi
    fi
    ready_python || return $?
    # Standard output and input belong to the command that follows.
    "$ready_py" -I -B "$root/scripts/setup.py" "$1" --stamp "$ready_key" >&2 </dev/null
}

# Sets ready_py to the first Python that is new enough: $PYTHON if given, then the usual names.
ready_python() {
    for ready_py in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$ready_py" >/dev/null 2>&1 &&
            "$ready_py" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            return 0
        fi
    done
    # One that uv has put away somewhere.
    if command -v uv >/dev/null 2>&1 && ready_py=$(uv python find --no-project '>=3.11' 2>/dev/null); then
        return 0
    fi
    printf 'error: localllm needs Python 3.11 or newer, and none was found (tried $PYTHON, python3, python3.14 to python3.11)\n' >&2
    case $(uname -s) in
        Darwin) printf 'hint: brew install python, or https://www.python.org/downloads/\n' >&2 ;;
        *)
            printf 'hint: Debian, Ubuntu: sudo apt install python3 python3-venv · Fedora: sudo dnf install python3 · Arch: sudo pacman -S python\n' >&2
            printf '      If yours is older than 3.11: uv python install 3.12 (https://docs.astral.sh/uv), or PYTHON=/path/to/python3 before the command.\n' >&2
            ;;
    esac
    return 1
}
