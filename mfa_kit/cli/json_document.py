"""The JSON document of a result, which is printed or written to a file."""

import json

from mfa_kit.cli.results import VERSION, Results


def json_document(results: Results) -> str:
    """Return one object on one line, with the name and version of its schema. A list is stored in `rows`.

    If the results have a `search`, return only the part that it finds.
    """
    fields = results.rows[0] if results.single else {"rows": results.rows}
    document = {"schema": f"mfa-kit/{results.schema}", "version": VERSION, **fields}
    return json.dumps(results.search(document) if results.search else document)
