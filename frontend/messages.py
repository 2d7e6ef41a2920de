"""Writes the types of the server's JSON bodies, from its OpenAPI schema: python -m frontend.messages"""

import json
from pathlib import Path
from typing import Any

from foleygram.app.limits import Limits
from foleygram.app.server import web_app

TARGET = Path(__file__).parent / "src" / "messages.ts"
SIMPLE = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}


def typescript(schemas: dict[str, Any]) -> str:
    """Interfaces of OpenAPI's schemas; fields with a default are in every answer, a request may leave them out."""
    parts = ["// Bodies of the server's requests and answers. Written by frontend/messages.py; do not edit.\n"]
    for name, schema in schemas.items():
        if name.endswith("ValidationError"):  # FastAPI's own, which the server does not send
            continue
        fields = [f"  {key}: {kind(one)};\n" for key, one in schema["properties"].items()]
        parts.append(f"/** {schema['description']} */\nexport interface {name} {{\n{''.join(fields)}}}\n")
    return "\n".join(parts)


def kind(schema: dict[str, Any]) -> str:
    """The TypeScript type of one schema; raises KeyError for a form of schema that the server has not used before."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(map(kind, schema["anyOf"]))
    if "prefixItems" in schema:
        return f"[{', '.join(map(kind, schema['prefixItems']))}]"
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"{kind(schema['items'])}[]"
    return SIMPLE[schema["type"]] if "type" in schema else "unknown"


def main() -> None:
    """Write the types of this version's server."""
    no_pipeline: Any = None  # only answers need one, the schema does not
    app = web_app(no_pipeline, Path(), Path(), Limits(), host="127.0.0.1", steps=None)
    TARGET.write_text(typescript(app.openapi()["components"]["schemas"]), encoding="utf-8")


if __name__ == "__main__":
    main()
