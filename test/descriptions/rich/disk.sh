#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
test -f /.profile && . /.profile
echo "disk.sh for ${kiwi_iname:-nobody} as ${kiwi_profiles:-nothing}" >> /var/log/scripts
