"""Makes the JSON document of a result, to be printed or written to a file."""

import json

from mfa_kit.cli.results import VERSION, Results


def json_document(results: Results) -> str:
    """Return the results as one JSON object on one line, with the name and version of its schema.

    A list is in the field `rows`. If the results have a `search`, return only the part that `search`
    finds in the object.
    """
    fields = results.rows[0] if results.single else {"rows": results.rows}
    document = {"schema": f"mfa-kit/{results.schema}", "version": VERSION, **fields}
    return json.dumps(results.search(document) if results.search else document)
