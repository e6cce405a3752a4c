"""People and faces: detection, landmarks in a turned crop, and tracking from frame to frame.

Bazarevsky et al., "BlazeFace", 2019, and "BlazePose", 2020; Kartynnik et al., "Real-time Facial
Surface Geometry from Monocular Video on Mobile GPUs", 2019.
"""
