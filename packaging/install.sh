#!/bin/sh
# Installs a released openme on Linux or macOS: fetches the archive for this machine, compares its SHA-256 with that in
# SHA256SUMS, and puts the program into its place. Nothing is placed before the sum is right.
#
# Everything is in functions, and only the last line calls one: a script that was cut off does nothing.

usage() {
  cat << 'END'
usage: install.sh [--version X.Y.Z] [--prefix DIR] [--base-url URL] [--portable]

  --version X.Y.Z  which release, or "latest"
  --prefix DIR     put the program into DIR/bin (or PREFIX; without both, /usr/local, or /usr for --portable)
  --base-url URL   where the releases are (or OPENME_RELEASES; without both, https://github.com/OWNER/openme/releases);
                   files are fetched from URL/latest/download/ and URL/download/vX.Y.Z/
  --portable       the archive that brings its own glibc, as on a Linux without one
END
}

main() {
  set -eu
  umask 022
  export LC_ALL=C
  base=${OPENME_RELEASES:-https://github.com/OWNER/openme/releases}
  version=latest prefix='' portable='' hint='' code=1
  [ ! "${PREFIX:-}" ] || take --prefix "$PREFIX"
  while [ $# -gt 0 ]; do
    case $1 in
      --version | --prefix | --base-url)
        [ $# -gt 1 ] || misuse "$1: expected a value"
        take "$1" "$2"
        shift
        ;;
      --version=* | --prefix=* | --base-url=*) take "${1%%=*}" "${1#*=}" ;;
      --portable) portable=1 ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) misuse "unexpected argument: $1" ;;
    esac
    shift
  done
  check_options
  find_target
  check_folders
  work=$(mktemp -d "${TMPDIR:-/tmp}/openme-install.XXXXXX")
  new='' libraries_new='' libraries_old=''
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' HUP TERM
  fetch_archive
  unpack
  if [ "$portable" ]; then place_libraries; fi
  place_program
  say "openme $version is now $bin/openme."
  case :$PATH: in
    *":$bin:"*) ;;
    *) say "$bin is not in your PATH." ;;
  esac
  say "Next: \"sudo openme setup\" on a server, \"openme import FILE\" on a client. \"openme help\" has all commands."
}

take() {
  case $1 in
    --version) version=${2#v} ;;
    --prefix)
      case $2 in
        /?*) prefix=${2%/} ;;
        *) misuse "--prefix: expected an absolute path, got \"$2\"" ;;
      esac
      ;;
    --base-url) base=${2%/} ;;
  esac
}

check_options() {
  case $version in
    latest) ;;
    '' | *[!0-9.]*) misuse "--version: expected X.Y.Z, got \"$version\"" ;;
  esac
  # The sums come from the same place as the program: without TLS, anyone on the path could change both.
  case $base in
    */OWNER/*)
      hint="pass --base-url https://github.com/.../openme/releases, with the owner of the repository"
      fail "this copy of install.sh does not know where the releases are"
      ;;
    https://*) protocol='=https' ;;
    http://127.0.0.1:* | http://localhost:*) protocol='=http' ;;
    *) misuse "--base-url: expected https://..., got \"$base\"" ;;
  esac
}

# Sets target, as the names of archives have it, and how they are packed.
find_target() {
  system=$(uname -s) machine=$(uname -m)
  case $machine in
    x86_64 | amd64) machine=x86_64 loader=/lib64/ld-linux-x86-64.so.2 ;;
    aarch64 | arm64) machine=aarch64 loader=/lib/ld-linux-aarch64.so.1 ;;
    *) machine='' ;;
  esac
  case $machine:$system in
    :*) ;;
    *:Linux)
      # Also a 32-bit system on a 64-bit kernel has none.
      [ -e "$loader" ] || portable=1
      target=linux-${portable:+portable-}$machine end=tar.xz
      return
      ;;
    *:Darwin)
      portable=''
      target=macos-$machine end=tar.gz
      return
      ;;
  esac
  hint="releases are for Linux and macOS, x86_64 and aarch64; on Windows, unpack the .zip of a release"
  fail "there is no openme for this machine: $(uname -s), $(uname -m)"
}

# Before anything is fetched: whether it could be placed.
check_folders() {
  if [ ! "$prefix" ]; then
    prefix=/usr/local
    # OpenWrt's PATH has no /usr/local/bin, and the services of this archive start /usr/bin/openme.
    [ ! "$portable" ] || prefix=/usr
  fi
  bin=$prefix/bin libraries=/usr/lib/openme
  check_writable "$bin"
  if [ "$portable" ]; then check_writable "${libraries%/*}"; fi
  [ ! -d "$bin/openme" ] || fail "$bin/openme is a folder"
}

check_writable() {
  folder=$1
  until [ -e "$folder" ]; do folder=$(dirname "$folder"); done
  [ ! -d "$folder" ] || [ ! -w "$folder" ] || return 0
  hint="run it as root, or choose a folder of your own: --prefix \"\$HOME/.local\""
  [ ! "$portable" ] || hint="run it as root: the portable openme has its libraries in $libraries"
  fail "cannot write to $folder"
}

# Fetches the archive into $work/archive and checks its sum. Sets version.
fetch_archive() {
  if [ "$version" = latest ]; then
    fetch "$base/latest/download/SHA256SUMS" "$work/sums"
    pattern='[0-9]+[.][0-9]+[.][0-9]+'
  else
    fetch "$base/download/v$version/SHA256SUMS" "$work/sums"
    pattern=$(printf %s "$version" | sed 's/[.]/[.]/g')
  fi
  if ! grep -E "^[0-9a-f]{64} [ *]openme-$pattern-$target\\.$end\$" "$work/sums" > "$work/line"; then
    hint="see which archives there are: $base"
    fail "SHA256SUMS has no line for openme-$version-$target.$end"
  fi
  [ "$(wc -l < "$work/line")" -eq 1 ] || fail "SHA256SUMS has more than one line for $target"
  read -r expected name < "$work/line"
  name=${name#"*"}
  version=${name#openme-}
  version=${version%"-$target.$end"}
  fetch "$base/download/v$version/$name" "$work/archive"
  actual=$(sha256 "$work/archive")
  [ "${actual%% *}" = "$expected" ] || {
    hint="the file was cut off or changed on its way: try again"
    fail "$name: expected the SHA-256 $expected, got ${actual%% *}"
  }
}

# Fetches a URL into a file. What the other side says reaches the terminal in printable characters only.
fetch() {
  if has curl; then
    set -- "$@" curl -fsSL --proto "$protocol" --proto-redir "$protocol" --connect-timeout 30 \
      --speed-limit 1000 --speed-time 30 --retry 2 -o "$2" "$1"
  elif has wget; then
    # The wget of busybox 1.35 crashes with -T. GNU's tries a file 20 times by itself.
    timeout='' tries=''
    ! wget --version 2> /dev/null | grep -q 'GNU Wget' || timeout=--timeout=30 tries=--tries=2
    set -- "$@" wget ${timeout:+"$timeout"} ${tries:+"$tries"} -O "$2" "$1"
  else
    hint="install curl"
    fail "neither curl nor wget is here"
  fi
  from=$1
  shift 2
  "$@" > /dev/null 2> "$work/errors" || {
    reason=$(tail -n 3 "$work/errors" | tr '\n' ' ' | tr -cd ' -~')
    fail "cannot fetch $from: ${reason% }"
  }
  # The wget of some busyboxes says so, and goes on.
  ! grep -q 'certificate validation not implemented' "$work/errors" || {
    hint="install curl"
    fail "this wget checks no certificates: what it fetched could be anyone's"
  }
}

sha256() {
  if has sha256sum; then sha256sum "$1"; elif has shasum; then shasum -a 256 "$1"; else
    fail "neither sha256sum nor shasum is here"
  fi
}

# Unpacks the archive. Sets program to the path of the program in it.
unpack() {
  mkdir "$work/unpacked"
  how=-xzf
  [ "$end" = tar.gz ] || how=-xJf
  tar "$how" "$work/archive" -C "$work/unpacked" > /dev/null 2>&1 || {
    hint="is there room in ${TMPDIR:-/tmp}, and xz (Debian: xz-utils)?"
    fail "tar cannot unpack $name"
  }
  for program in "$work/unpacked/usr/bin/openme" "$work/unpacked/${name%".$end"}/bin/openme"; do
    [ ! -f "$program" ] || return 0
  done
  fail "$name has no program"
}

# The loader and libraries of the portable openme lie where its program looks for them, and nowhere else.
place_libraries() {
  mkdir -p "${libraries%/*}"
  libraries_new=$(mktemp -d "$libraries.XXXXXX")
  cp -R "$work/unpacked$libraries/." "$libraries_new/"
  chmod 755 "$libraries_new"
  if [ -e "$libraries" ]; then
    libraries_old=$libraries_new.old
    mv "$libraries" "$libraries_old"
  fi
  mv "$libraries_new" "$libraries"
}

# A program that does not start here takes no other's place.
place_program() {
  mkdir -p "$bin"
  new=$(mktemp "$bin/.openme.XXXXXX")
  cp "$program" "$new"
  chmod 755 "$new"
  told=$("$new" --version 2> "$work/errors") || told=''
  [ "$told" = "openme $version" ] || {
    [ "$portable" ] || hint="try --portable"
    fail "openme $version does not start here: $(tail -n 3 "$work/errors" | tr '\n' ' ' | tr -cd ' -~')"
  }
  trap '' INT HUP TERM
  mv -f "$new" "$bin/openme"
  new='' libraries_new=''
}

# On every way out. Takes back what a failure left half placed.
clean_up() {
  status=$?
  trap '' INT HUP TERM
  if [ "$new" ]; then rm -f "$new"; fi
  if [ "$libraries_new" ]; then
    if [ -e "$libraries_new" ]; then rm -rf "$libraries_new"; else rm -rf "$libraries"; fi
    [ ! -e "$libraries_old" ] || mv "$libraries_old" "$libraries"
  elif [ "$libraries_old" ]; then
    rm -rf "$libraries_old"
  fi
  rm -rf "$work"
  exit "$status"
}

has() {
  command -v "$1" > /dev/null 2>&1
}

say() {
  printf '%s\n' "$1"
}

misuse() {
  hint="install.sh --help" code=2
  fail "$1"
}

fail() {
  printf 'install.sh: error: %s\n' "$1" >&2
  [ -z "$hint" ] || printf 'install.sh: hint: %s\n' "$hint" >&2
  exit "$code"
}

# In braces: a line that was cut off is no command.
{ main "$@"; }
