"""dstore as a file system of fsspec: `dstore://`."""
