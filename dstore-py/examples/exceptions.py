"""Two writers want the same path: how the slower one finds out, and what it does."""

import dstore.testing


def append(client: dstore.Client, path: str, line: bytes) -> int:
    """Adds a line to a file, whoever else does the same; gives the version that this made."""
    while True:
        try:
            head = client.head(path)
            return client.put(path, client.get(path).bytes() + line, if_version=head.version).head.version
        except FileNotFoundError:  # dstore.NotFound is one
            try:
                return client.put(path, line, mode="create").head.version
            except dstore.AlreadyExists as conflict:
                print(f"somebody else made {conflict.path} first, at version {conflict.version}")
        except dstore.VersionConflict as conflict:
            print(f"{conflict.path} is at version {conflict.actual}, not at {conflict.expected}: once more")
        except dstore.DstoreError as error:
            if not error.retryable:
                raise
            print(f"{error.code}: {error}: once more")


with dstore.testing.Cluster() as network, network.client() as one, network.client() as other:
    try:
        one.put("log.txt", b"one\n", mode="create")
        other.put("log.txt", b"other\n", mode="create")
    except dstore.AlreadyExists as conflict:
        version = append(other, "log.txt", b"other\n")
        print(f"the loser reads version {conflict.version} and writes version {version}")
