# SPDX-License-Identifier: GPL-3.0-or-later
"""What SPDX's own tools say of a document."""
from __future__ import annotations

import json
import warnings
from typing import Any, Dict

with warnings.catch_warnings():
    # of its own requirements
    warnings.simplefilter('ignore')
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document


def check_sbom(data: bytes) -> Dict[str, Any]:
    """Return a document that is SPDX 2.3 in every detail."""
    document: Dict[str, Any] = json.loads(data)
    found = validate_full_spdx_document(JsonLikeDictParser().parse(document), 'SPDX-2.3')
    assert not found, [message.validation_message for message in found]
    return document
