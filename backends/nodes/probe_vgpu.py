"""Whether a GPU is virtual, and licensed.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

from backends.nodes.probe_nvml import text
from backends.nodes.probe_tree import measured

VIRTUALIZATION_MODES = {0: "none", 1: "passthrough", 2: "vgpu", 3: "host_vgpu", 4: "host_vsga"}


def read_vgpu(gpu):
    mode = VIRTUALIZATION_MODES.get(gpu.call("nvmlDeviceGetVirtualizationMode"))
    vgpu = measured(mode=mode)
    features = gpu.call("nvmlDeviceGetGridLicensableFeatures") if mode == "vgpu" else None
    if features is None or not features.isGridLicenseSupported:
        return vgpu
    listed = [features.gridLicensableFeatures[i] for i in range(features.licensableFeaturesCount)]
    licensed = [feature for feature in listed if feature.featureState]
    vgpu["licensed"] = bool(licensed)
    if licensed:
        vgpu.update(measured(license_product=text(licensed[0].productName), license_expiry=expiry(licensed[0])))
    return vgpu


def expiry(feature):
    end = getattr(feature, "licenseExpiry", None)
    if end is None or not end.year:
        return None
    return "%04d-%02d-%02d %02d:%02d" % (end.year, end.month, end.day, end.hour, end.min)
