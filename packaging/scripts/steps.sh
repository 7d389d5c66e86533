# What the scripts of the packages do. Each script takes this text in where it says ". ./steps.sh"
# (scripts/package/maintainer_scripts.ts).

has_systemd() { [ -d /run/systemd/system ]; }

# The rules in the kernel are those of the machine around a chroot, not of the files in it.
in_chroot() {
  here=$(stat -c %d:%i / 2>/dev/null) && init=$(stat -c %d:%i /proc/1/root/ 2>/dev/null) || return 0
  [ "$here" != "$init" ]
}

after_install() {
  if has_systemd; then systemctl daemon-reload; fi
  echo "openme: installed, and no port is closed yet. Next: sudo openme setup"
}

# SIGUSR1: the ports stay closed, grants and sessions go on. A server whose configuration the new
# version does not accept is left running.
after_upgrade() {
  has_systemd || return 0
  systemctl daemon-reload
  systemctl is-active --quiet openme.service || return 0
  if openme check >/dev/null; then
    # systemd before 244, as in RHEL 8, does not know the RestartKillSignal of the unit.
    systemctl kill --kill-who=main --signal=USR1 openme.service || : # it has just ended
    # A server that does not start is no reason to leave the package half configured.
    systemctl restart openme.service ||
      echo "openme: warning: the server was not started again: journalctl -u openme -n 20" >&2
  else
    echo "openme: warning: the server still runs the version before: correct its configuration," \
      "then: sudo systemctl restart openme" >&2
  fi
}

# Stops the server and takes every rule out. Where that fails, the server runs again and the package
# stays: without openme nothing would open the ports that its rules close.
before_removal() {
  was_active=
  if has_systemd; then
    if systemctl is-active --quiet openme.service; then was_active=yes; fi
    # Where a stop fails, uninstall says that a server runs.
    systemctl stop openme.service openme-guard.service || :
  fi
  if ! remove_rules; then
    if [ "$was_active" ]; then systemctl start openme.service; fi
    return 1
  fi
  if command -v systemctl >/dev/null; then
    systemctl disable --quiet openme.service openme-guard.service || :
  fi
}

remove_rules() {
  if in_chroot || ! command -v openme >/dev/null; then return 0; fi
  if openme uninstall; then return 0; fi
  # A configuration with a mistake does not tell where the state is.
  if openme check >/dev/null 2>&1; then return 1; fi
  openme uninstall --state-dir /var/lib/openme
}

after_removal() {
  if has_systemd; then systemctl daemon-reload; fi
}
