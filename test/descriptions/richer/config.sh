#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
echo 'config.sh of the extension' >> /var/log/scripts
