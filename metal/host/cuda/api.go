package cuda

import (
	"bytes"
	"unsafe"
)

// api is the CUDA driver: the system's, or in tests a stand-in.
type api interface {
	// call calls a function and returns its CUresult, 0 for success.
	call(f function, a ...uintptr) int32
	// launch is cuLaunchKernel of a kernel whose parameters are packed.
	launch(kernel uintptr, grid *[3]int, threads int, stream uintptr, extra *[5]uintptr) int32
}

// function is a function of the driver by its place in functions.
type function int

// The driver's functions in use. All are in CUDA 12 but the last two, which came
// with 12.4.
const (
	cuInit function = iota
	cuDriverGetVersion
	cuDeviceGetCount
	cuDeviceGet
	cuDeviceGetName
	cuDeviceTotalMem
	cuDeviceGetAttribute
	cuDevicePrimaryCtxRetain
	cuDevicePrimaryCtxRelease
	cuCtxSetCurrent
	cuStreamCreate
	cuStreamSynchronize
	cuStreamDestroy
	cuEventCreate
	cuEventRecord
	cuEventElapsedTime
	cuEventDestroy
	cuModuleLoadData
	cuModuleUnload
	cuModuleGetFunction
	cuFuncGetAttribute
	cuLaunchKernel
	cuStreamBeginCapture
	cuStreamEndCapture
	cuGraphInstantiateWithFlags
	cuGraphExecUpdate
	cuGraphLaunch
	cuGraphDestroy
	cuGraphExecDestroy
	cuMemAlloc
	cuMemFree
	cuMemsetD8Async
	cuMemcpyHtoDAsync
	cuMemcpyDtoH
	cuMemcpyDtoDAsync
	cuGetErrorName
	cuGetErrorString
	cuFuncGetParamInfo // without it, parameters are not compared
	cuFuncLoad         // without it, the first use of a kernel loads it
)

// optional says that a driver may lack the function.
func (f function) optional() bool { return f >= cuFuncGetParamInfo }

// functions are their names in the library, which has later versions of some
// under a suffix: those with 64-bit sizes.
var functions = []string{
	"cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2", "cuDeviceGetAttribute",
	"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2", "cuCtxSetCurrent",
	"cuStreamCreate", "cuStreamSynchronize", "cuStreamDestroy_v2", "cuEventCreate", "cuEventRecord", "cuEventElapsedTime", "cuEventDestroy_v2",
	"cuModuleLoadData", "cuModuleUnload", "cuModuleGetFunction", "cuFuncGetAttribute", "cuLaunchKernel",
	"cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphExecUpdate_v2", "cuGraphLaunch",
	"cuGraphDestroy", "cuGraphExecDestroy",
	"cuMemAlloc_v2", "cuMemFree_v2", "cuMemsetD8Async", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoH_v2", "cuMemcpyDtoDAsync_v2",
	"cuGetErrorName", "cuGetErrorString", "cuFuncGetParamInfo", "cuFuncLoad",
}

// notThere is the result of a function that the library lacks: CUDA_ERROR_NOT_FOUND.
const notThere = 500

// Values of the driver's enumerations.
const (
	streamNonBlocking = 1 // CU_STREAM_NON_BLOCKING: no order with work of other libraries

	maxThreadsPerBlock = 1  // CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK
	capabilityMajor    = 75 // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
	capabilityMinor    = 76 // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR

	kernelThreads = 0 // CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
	kernelShared  = 1 // CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
	kernelLocal   = 3 // CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES
	kernelRegs    = 4 // CU_FUNC_ATTRIBUTE_NUM_REGS

	captureThread = 1 // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: only this thread's calls may disturb it

	launchBuffer = 1 // CU_LAUNCH_PARAM_BUFFER_POINTER
	launchSize   = 2 // CU_LAUNCH_PARAM_BUFFER_SIZE
	launchEnd    = 0 // CU_LAUNCH_PARAM_END
)

// address is a Go pointer as an argument. What it points to must be reachable
// until the call returns; here it is made to be on the heap, which does not move.
func address[T any](p *T) uintptr {
	if sink.on {
		sink.p = unsafe.Pointer(p)
	}
	return uintptr(unsafe.Pointer(p))
}

// sink is never on; the compiler does not know, so what might be stored in it
// is not kept on a stack.
var sink struct {
	on bool
	p  unsafe.Pointer
}

// pointer turns what a function returned into a pointer. The memory is not Go's.
func pointer(r uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&r)) }

// cString copies a C string.
func cString(p uintptr) string {
	n := 0
	for *(*byte)(unsafe.Add(pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(pointer(p)), n))
}

// text is what stands in a buffer before its first zero.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
