#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
test -f /.profile && . /.profile
echo "config.sh for ${kiwi_iname:-nobody} as ${kiwi_profiles:-nothing}" >> /var/log/scripts
test "$(id -u bob)" = 1500
echo "built as ${kiwi_profiles}" > /etc/stack/role
touch /etc/stripped
