# Runs a command where the demo and the tests can do their work, in the mount namespace that `unshare` has just made.
# enter.sh TREE LAYERS COMMAND...
# TREE holds unpacked packages and is laid over the system's files, so that programs find their libraries, settings and
# data where they look for them; it may be empty. LAYERS is an empty folder: what is written there is in memory only.
# The user namespace of an ordinary user (whose id is not 0 outside) also needs a /run of its own, and a loopback.
set -e
tree=$1 layers=$2
shift 2
read -r _ outside _ < /proc/self/uid_map

# Programs that give up their rights need a user to become.
add_users() {
  for file in passwd group; do
    cp "/etc/$file" "$1/$file"
    for user in sshd:64998 messagebus:64999; do
      name=${user%:*} id=${user#*:}
      grep -q "^$name:" "/etc/$file" && continue
      case $file in
        passwd) echo "$name:x:$id:$id::/run/$name:/usr/sbin/nologin" ;;
        group) echo "$name:x:$id:" ;;
      esac >> "$1/$file"
    done
  done
}

# Lays a folder of the tree over the system's. File systems that are mounted below it (/etc/hosts in a container) stay.
cover() {
  mkdir -p "$layers$1/new" "$layers$1/work" "$layers$1/old"
  mount --rbind "$1" "$layers$1/old"
  [ "$1" != /etc ] || add_users "$layers/etc/new"
  options=lowerdir=$tree$1:$1,upperdir=$layers$1/new,workdir=$layers$1/work
  [ "$outside" = 0 ] || options=$options,userxattr
  mount -t overlay -o "$options" overlay "$1"
  for point in $mounted; do
    case $point in "$1"/*) mount --rbind "$layers$1/old${point#"$1"}" "$point" ;; esac
  done
}

[ "$outside" = 0 ] || mount -t tmpfs tmpfs /run
if [ -n "$tree" ]; then
  mount -t tmpfs -o mode=755 tmpfs "$layers"
  mounted=
  while read -r _ _ _ _ point _; do mounted="$mounted $point"; done < /proc/self/mountinfo
  for folder in "$tree"/*; do
    top=/${folder##*/}
    # Where /bin is a link to usr/bin, what it has lies in /usr. Nothing that is started has programs or data in /var.
    [ -d "$folder" ] && [ ! -L "$folder" ] && [ -d "$top" ] && [ "$top" != /var ] && cover "$top"
  done
fi
[ "$outside" = 0 ] || ip link set lo up || :
# The tree brings firewalld's sources and nothing compiled; each start of it would compile them all again.
unset PYTHONDONTWRITEBYTECODE
exec "$@"
