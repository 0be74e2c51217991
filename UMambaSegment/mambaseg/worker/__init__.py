"""The engine as a process of its own: requests and events as JSON lines on pipes, voxels as ``.npy`` files.

Importing this package loads nothing; `mambaseg.worker.protocol` has what both sides need.
"""
