"""GMean100 that APEBench published."""

PUBLISHED = {
    "1d_diff_disp": {"Conv": 0.031, "Res": 0.042, "UNet": 0.086, "Dil": 0.072, "FNO": 0.041},
    "1d_diff_burgers": {
        "Conv": 0.0265,
        "Res": 0.0128,
        "UNet": 0.0649,
        "Dil": 0.0571,
        "FNO": 0.0698,
    },
    "1d_diff_kdv": {"Conv": 0.1225, "Res": 0.876, "UNet": 0.0963, "Dil": 0.0769, "FNO": 0.210},
    "1d_diff_ks": {"Conv": 0.271, "Res": 0.262, "UNet": 0.194, "Dil": 0.157, "FNO": 0.538},
    "1d_diff_ks_cons": {"Conv": 0.343, "Res": 0.242, "UNet": 0.411, "Dil": 0.284, "FNO": 1.04},
    "2d_phy_aniso_diff": {"Conv": 0.017, "Res": 0.021, "UNet": 0.043, "Dil": 0.041, "FNO": 0.077},
    "2d_diff_burgers": {"Conv": 0.147, "Res": 0.053, "UNet": 0.162, "Dil": 0.139, "FNO": 0.328},
    "2d_diff_ks-32": {"Conv": 0.478, "Res": 0.450, "UNet": 0.331, "Dil": 0.291, "FNO": 0.302},
    "2d_diff_ks": {"Conv": 0.217, "Res": 0.197, "UNet": 0.268, "Dil": 0.257, "FNO": 0.907},
    "2d_phy_kolm_flow": {"Conv": 0.882, "Res": 0.914, "UNet": 0.826, "Dil": 0.875, "FNO": 0.688},
    "2d_phy_gs_type": {"Conv": 0.055, "Res": 0.063, "UNet": 0.069, "Dil": 0.103, "FNO": 0.21},
}
"""Koehler et al. (2024), one-step training, median over seeds; some are read off a figure."""
