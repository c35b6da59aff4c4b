package apple

// What of Apple's API this package uses, as the headers declare it: nothing
// outside this file is sent, looked up or called. A test holds every use
// against it, and another runs the driver on a stand-in for the system that
// refuses whatever the table does not say.

// version is a release of macOS: 100 times the major number plus the minor.
type version int

const (
	macOS10_0  version = 1000
	macOS10_6  version = 1006
	macOS10_10 version = 1010
	macOS10_11 version = 1011
	macOS10_12 version = 1012
	macOS10_13 version = 1013
	macOS10_14 version = 1014
	macOS10_15 version = 1015
	macOS11    version = 1100
	macOS14    version = 1400
	macOS15    version = 1500
)

// oldest is the first macOS that compiles Metal Shading Language 3.1. Whatever
// came later is asked for with respondsToSelector:.
const oldest = macOS14

// method is a message and its type: the result, the receiver, the selector, the
// arguments, in Objective-C's encoding with the class of each object in quotes.
type method struct {
	receiver string // class or protocol that declares it
	selector string
	types    string
	header   string
	since    version
	index    int
}

// methods has every method, each at its index.
var methods []*method

func declare(receiver, selector, types, header string, since version) *method {
	m := &method{receiver, selector, types, header, since, len(methods)}
	methods = append(methods, m)
	return m
}

// Foundation and the Objective-C runtime.
var (
	alloc              = declare("NSObject", "alloc", `@#:`, "objc/NSObject.h", macOS10_0)
	initObject         = declare("NSObject", "init", `@@:`, "objc/NSObject.h", macOS10_0)
	retain             = declare("NSObject", "retain", `@@:`, "objc/NSObject.h", macOS10_0)
	release            = declare("NSObject", "release", `v@:`, "objc/NSObject.h", macOS10_0)
	respondsToSelector = declare("NSObject", "respondsToSelector:", `B@::`, "objc/NSObject.h", macOS10_0)

	initWithBytes = declare("NSString", "initWithBytes:length:encoding:", `@"NSString"@:r^vQQ`, "Foundation/NSString.h", macOS10_0)
	utf8String    = declare("NSString", "UTF8String", `r*@:`, "Foundation/NSString.h", macOS10_0)

	processInfo    = declare("NSProcessInfo", "processInfo", `@"NSProcessInfo"#:`, "Foundation/NSProcessInfo.h", macOS10_0)
	isAtLeast      = declare("NSProcessInfo", "isOperatingSystemAtLeastVersion:", `B@:{NSOperatingSystemVersion=qqq}`, "Foundation/NSProcessInfo.h", macOS10_10)
	systemVersion  = declare("NSProcessInfo", "operatingSystemVersionString", `@"NSString"@:`, "Foundation/NSProcessInfo.h", macOS10_0)
	physicalMemory = declare("NSProcessInfo", "physicalMemory", `Q@:`, "Foundation/NSProcessInfo.h", macOS10_6)

	localizedDescription = declare("NSError", "localizedDescription", `@"NSString"@:`, "Foundation/NSError.h", macOS10_0)
	errorDomain          = declare("NSError", "domain", `@"NSString"@:`, "Foundation/NSError.h", macOS10_0)
	errorCode            = declare("NSError", "code", `q@:`, "Foundation/NSError.h", macOS10_0)
	userInfo             = declare("NSError", "userInfo", `@"NSDictionary"@:`, "Foundation/NSError.h", macOS10_0)
	objectForKey         = declare("NSDictionary", "objectForKey:", `@@:@`, "Foundation/NSDictionary.h", macOS10_0)
	arrayCount           = declare("NSArray", "count", `Q@:`, "Foundation/NSArray.h", macOS10_0)
	objectAtIndex        = declare("NSArray", "objectAtIndex:", `@@:Q`, "Foundation/NSArray.h", macOS10_0)
)

// The device.
var (
	deviceName            = declare("MTLDevice", "name", `@"NSString"@:`, "Metal/MTLDevice.h", macOS10_11)
	supportsFamily        = declare("MTLDevice", "supportsFamily:", `B@:q`, "Metal/MTLDevice.h", macOS10_15)
	hasUnifiedMemory      = declare("MTLDevice", "hasUnifiedMemory", `B@:`, "Metal/MTLDevice.h", macOS10_15)
	maxBufferLength       = declare("MTLDevice", "maxBufferLength", `Q@:`, "Metal/MTLDevice.h", macOS10_14)
	maxWorkingSet         = declare("MTLDevice", "recommendedMaxWorkingSetSize", `Q@:`, "Metal/MTLDevice.h", macOS10_12)
	maxThreadgroupMemory  = declare("MTLDevice", "maxThreadgroupMemoryLength", `Q@:`, "Metal/MTLDevice.h", macOS10_13)
	newCommandQueue       = declare("MTLDevice", "newCommandQueue", `@"MTLCommandQueue"@:`, "Metal/MTLDevice.h", macOS10_11)
	newFence              = declare("MTLDevice", "newFence", `@"MTLFence"@:`, "Metal/MTLDevice.h", macOS10_13)
	newBufferWithLength   = declare("MTLDevice", "newBufferWithLength:options:", `@"MTLBuffer"@:QQ`, "Metal/MTLDevice.h", macOS10_11)
	newBufferNoCopy       = declare("MTLDevice", "newBufferWithBytesNoCopy:length:options:deallocator:", `@"MTLBuffer"@:^vQQ@?`, "Metal/MTLDevice.h", macOS10_11)
	newLibraryWithSource  = declare("MTLDevice", "newLibraryWithSource:options:error:", `@"MTLLibrary"@:@"NSString"@"MTLCompileOptions"^@`, "Metal/MTLDevice.h", macOS10_11)
	newPipeline           = declare("MTLDevice", "newComputePipelineStateWithFunction:error:", `@"MTLComputePipelineState"@:@"MTLFunction"^@`, "Metal/MTLDevice.h", macOS10_11)
	newResidencySet       = declare("MTLDevice", "newResidencySetWithDescriptor:error:", `@"MTLResidencySet"@:@"MTLResidencySetDescriptor"^@`, "Metal/MTLDevice.h", macOS15)
	bufferContents        = declare("MTLBuffer", "contents", `^v@:`, "Metal/MTLBuffer.h", macOS10_11)
	setLanguageVersion    = declare("MTLCompileOptions", "setLanguageVersion:", `v@:Q`, "Metal/MTLLibrary.h", macOS10_11)
	setFastMathEnabled    = declare("MTLCompileOptions", "setFastMathEnabled:", `v@:B`, "Metal/MTLLibrary.h", macOS10_11)
	setMathMode           = declare("MTLCompileOptions", "setMathMode:", `v@:q`, "Metal/MTLLibrary.h", macOS15)
	setMathFunctions      = declare("MTLCompileOptions", "setMathFloatingPointFunctions:", `v@:q`, "Metal/MTLLibrary.h", macOS15)
	newFunctionWithName   = declare("MTLLibrary", "newFunctionWithName:", `@"MTLFunction"@:@"NSString"`, "Metal/MTLLibrary.h", macOS10_11)
	threadExecutionWidth  = declare("MTLComputePipelineState", "threadExecutionWidth", `Q@:`, "Metal/MTLComputePipeline.h", macOS10_11)
	maxThreads            = declare("MTLComputePipelineState", "maxTotalThreadsPerThreadgroup", `Q@:`, "Metal/MTLComputePipeline.h", macOS10_11)
	staticThreadgroup     = declare("MTLComputePipelineState", "staticThreadgroupMemoryLength", `Q@:`, "Metal/MTLComputePipeline.h", macOS10_13)
	addAllocation         = declare("MTLResidencySet", "addAllocation:", `v@:@"MTLBuffer"`, "Metal/MTLResidencySet.h", macOS15)
	removeAllocation      = declare("MTLResidencySet", "removeAllocation:", `v@:@"MTLBuffer"`, "Metal/MTLResidencySet.h", macOS15)
	commitResidency       = declare("MTLResidencySet", "commit", `v@:`, "Metal/MTLResidencySet.h", macOS15)
	requestResidency      = declare("MTLResidencySet", "requestResidency", `v@:`, "Metal/MTLResidencySet.h", macOS15)
	endResidency          = declare("MTLResidencySet", "endResidency", `v@:`, "Metal/MTLResidencySet.h", macOS15)
	addResidencySet       = declare("MTLCommandQueue", "addResidencySet:", `v@:@"MTLResidencySet"`, "Metal/MTLCommandQueue.h", macOS15)
	commandBuffer         = declare("MTLCommandQueue", "commandBufferWithDescriptor:", `@"MTLCommandBuffer"@:@"MTLCommandBufferDescriptor"`, "Metal/MTLCommandQueue.h", macOS11)
	setRetainedReferences = declare("MTLCommandBufferDescriptor", "setRetainedReferences:", `v@:B`, "Metal/MTLCommandBuffer.h", macOS11)
	setErrorOptions       = declare("MTLCommandBufferDescriptor", "setErrorOptions:", `v@:Q`, "Metal/MTLCommandBuffer.h", macOS11)
)

// Command buffers and encoders.
var (
	computeEncoder     = declare("MTLCommandBuffer", "computeCommandEncoderWithDispatchType:", `@"MTLComputeCommandEncoder"@:Q`, "Metal/MTLCommandBuffer.h", macOS10_14)
	commit             = declare("MTLCommandBuffer", "commit", `v@:`, "Metal/MTLCommandBuffer.h", macOS10_11)
	waitUntilCompleted = declare("MTLCommandBuffer", "waitUntilCompleted", `v@:`, "Metal/MTLCommandBuffer.h", macOS10_11)
	commandStatus      = declare("MTLCommandBuffer", "status", `Q@:`, "Metal/MTLCommandBuffer.h", macOS10_11)
	commandError       = declare("MTLCommandBuffer", "error", `@"NSError"@:`, "Metal/MTLCommandBuffer.h", macOS10_11)
	infoLabel          = declare("MTLCommandBufferEncoderInfo", "label", `@"NSString"@:`, "Metal/MTLCommandBuffer.h", macOS11)
	infoSignposts      = declare("MTLCommandBufferEncoderInfo", "debugSignposts", `@"NSArray"@:`, "Metal/MTLCommandBuffer.h", macOS11)
	infoState          = declare("MTLCommandBufferEncoderInfo", "errorState", `q@:`, "Metal/MTLCommandBuffer.h", macOS11)

	setLabel             = declare("MTLCommandEncoder", "setLabel:", `v@:@"NSString"`, "Metal/MTLCommandEncoder.h", macOS10_11)
	insertDebugSignpost  = declare("MTLCommandEncoder", "insertDebugSignpost:", `v@:@"NSString"`, "Metal/MTLCommandEncoder.h", macOS10_11)
	endEncoding          = declare("MTLCommandEncoder", "endEncoding", `v@:`, "Metal/MTLCommandEncoder.h", macOS10_11)
	setPipeline          = declare("MTLComputeCommandEncoder", "setComputePipelineState:", `v@:@"MTLComputePipelineState"`, "Metal/MTLComputeCommandEncoder.h", macOS10_11)
	setBuffer            = declare("MTLComputeCommandEncoder", "setBuffer:offset:atIndex:", `v@:@"MTLBuffer"QQ`, "Metal/MTLComputeCommandEncoder.h", macOS10_11)
	setBytes             = declare("MTLComputeCommandEncoder", "setBytes:length:atIndex:", `v@:r^vQQ`, "Metal/MTLComputeCommandEncoder.h", macOS10_11)
	dispatchThreadgroups = declare("MTLComputeCommandEncoder", "dispatchThreadgroups:threadsPerThreadgroup:", `v@:{MTLSize=QQQ}{MTLSize=QQQ}`, "Metal/MTLComputeCommandEncoder.h", macOS10_11)
	memoryBarrier        = declare("MTLComputeCommandEncoder", "memoryBarrierWithScope:", `v@:Q`, "Metal/MTLComputeCommandEncoder.h", macOS10_14)
	updateFence          = declare("MTLComputeCommandEncoder", "updateFence:", `v@:@"MTLFence"`, "Metal/MTLComputeCommandEncoder.h", macOS10_13)
	waitForFence         = declare("MTLComputeCommandEncoder", "waitForFence:", `v@:@"MTLFence"`, "Metal/MTLComputeCommandEncoder.h", macOS10_13)
)

// symbol is a class, a function or a constant, by its name in a library.
type symbol struct {
	name   string
	header string
	since  version
	index  int
}

var (
	classes   []*symbol
	functions []*symbol
	constants []*symbol
)

func list(of *[]*symbol, name, header string, since version) *symbol {
	s := &symbol{name, header, since, len(*of)}
	*of = append(*of, s)
	return s
}

var (
	classString       = list(&classes, "NSString", "Foundation/NSString.h", macOS10_0)
	classProcessInfo  = list(&classes, "NSProcessInfo", "Foundation/NSProcessInfo.h", macOS10_0)
	classOptions      = list(&classes, "MTLCompileOptions", "Metal/MTLLibrary.h", macOS10_11)
	classCommands     = list(&classes, "MTLCommandBufferDescriptor", "Metal/MTLCommandBuffer.h", macOS11)
	classResidencySet = list(&classes, "MTLResidencySetDescriptor", "Metal/MTLResidencySet.h", macOS15)

	createDevice = list(&functions, "MTLCreateSystemDefaultDevice", "Metal/MTLDevice.h", macOS10_11)
	messageSend  = list(&functions, "objc_msgSend", "objc/message.h", macOS10_0)
	poolPush     = list(&functions, "objc_autoreleasePoolPush", "objc4 objc-internal.h, and clang's Automatic Reference Counting", macOS10_10)
	poolPop      = list(&functions, "objc_autoreleasePoolPop", "objc4 objc-internal.h, and clang's Automatic Reference Counting", macOS10_10)

	encoderInfoKey = list(&constants, "MTLCommandBufferEncoderInfoErrorKey", "Metal/MTLCommandBuffer.h", macOS11)
)

// Values of the headers' enumerations.
const (
	utf8Encoding = 4 // NSUTF8StringEncoding

	familyApple7 = 1007 // MTLGPUFamilyApple7: the M1

	languageVersion3_1   = 3<<16 + 1 // MTLLanguageVersion3_1
	mathModeSafe         = 0         // MTLMathModeSafe
	mathFunctionsPrecise = 1         // MTLMathFloatingPointFunctionsPrecise

	storageShared   = 0 << 4 // MTLResourceStorageModeShared
	hazardUntracked = 1 << 8 // MTLResourceHazardTrackingModeUntracked

	dispatchConcurrent = 1 // MTLDispatchTypeConcurrent
	barrierBuffers     = 1 // MTLBarrierScopeBuffers
	encoderStatus      = 1 // MTLCommandBufferErrorOptionEncoderExecutionStatus

	statusCompleted = 4 // MTLCommandBufferStatusCompleted
	statusError     = 5 // MTLCommandBufferStatusError
)

// commandErrors are the codes of MTLCommandBufferErrorDomain.
var commandErrors = map[int]string{
	1: "internal", 2: "timeout", 3: "page fault", 4: "access revoked", 7: "not permitted", 8: "out of memory",
	9: "invalid resource", 10: "memoryless", 11: "device removed", 12: "stack overflow",
}

// encoderStates are the values of MTLCommandEncoderErrorState.
var encoderStates = []string{"unknown", "completed", "affected", "pending", "faulted"}
