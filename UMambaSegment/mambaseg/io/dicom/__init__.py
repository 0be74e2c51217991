"""DICOM folders: headers by pydicom, voxels by SimpleITK."""
