// What is known of a CUDA device, without CUDA's headers: libtorch's allocator through its interface, the driver by name.

#include "common.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <dlfcn.h>

namespace {

// The driver's functions return 0 for success; the library that libtorch_cuda.so itself has opened.
template <typename F> F driver(const char *name) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  TORCH_CHECK(library != nullptr, "the CUDA driver cannot be opened: ", dlerror());
  void *function = dlsym(library, name);
  TORCH_CHECK(function != nullptr, "the CUDA driver has no ", name);
  return reinterpret_cast<F>(function);
}

void succeeded(int status, const char *name) {
  TORCH_CHECK(status == 0, "the CUDA driver's ", name, " failed with ", status);
}

} // namespace

extern "C" {

// CudaMemory of src/device.rs.
struct distilsweep_memory {
  uint64_t held, used, peak, free, total;
};

char *distilsweep_cuda_memory(distilsweep_memory *memory, int64_t index) {
  return guarded([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    c10::DeviceAllocator *allocator = c10::getDeviceAllocator(at::kCUDA);
    const auto device = static_cast<c10::DeviceIndex>(index);
    const auto sizes = allocator->getMemoryInfo(device);
    const auto stats = allocator->getDeviceStats(device);
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    memory->held = static_cast<uint64_t>(stats.reserved_bytes[all].current);
    memory->used = static_cast<uint64_t>(stats.allocated_bytes[all].current);
    memory->peak = static_cast<uint64_t>(stats.allocated_bytes[all].peak);
    memory->free = sizes.first;
    memory->total = sizes.second;
  });
}

char *distilsweep_cuda_forget_peak(int64_t index) {
  return guarded([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    c10::getDeviceAllocator(at::kCUDA)->resetPeakStats(static_cast<c10::DeviceIndex>(index));
  });
}

char *distilsweep_cuda_model(char *name, int32_t length, int32_t *major, int32_t *minor, int64_t index) {
  return guarded([&] {
    // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
    constexpr int major_attribute = 75, minor_attribute = 76;
    int device = 0;
    succeeded(driver<int (*)(unsigned)>("cuInit")(0), "cuInit");
    succeeded(driver<int (*)(int *, int)>("cuDeviceGet")(&device, static_cast<int>(index)), "cuDeviceGet");
    succeeded(driver<int (*)(char *, int, int)>("cuDeviceGetName")(name, length, device), "cuDeviceGetName");
    const auto attribute = driver<int (*)(int *, int, int)>("cuDeviceGetAttribute");
    succeeded(attribute(major, major_attribute, device), "cuDeviceGetAttribute");
    succeeded(attribute(minor, minor_attribute, device), "cuDeviceGetAttribute");
  });
}
}
