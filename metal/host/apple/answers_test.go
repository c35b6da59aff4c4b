package apple

import (
	"bytes"
	"fmt"
	"unsafe"
)

// commands is the stand-in's command buffer.
type commands struct {
	encoder *encoding
	done    chan struct{}
}

type encoding struct {
	label    string
	ops      []func()
	pipeline string
	bound    map[int]any
	posts    []string
	updated  bool
	ended    bool
	of       id
}

type pipeline struct {
	name string
}

// answers are the stand-in's methods.
var answers map[*method]func(f *fake, self id, o *object, a args) uintptr

func number(n uintptr) func(*fake, id, *object, args) uintptr {
	return func(*fake, id, *object, args) uintptr { return n }
}

// creator makes an object, or nil where the test refuses it.
func creator(m **method, class string, value func(f *fake, a args) any) func(*fake, id, *object, args) uintptr {
	return func(f *fake, _ id, _ *object, a args) uintptr {
		if f.refuse[*m] {
			if class == "MTLComputePipelineState" || class == "MTLResidencySet" {
				f.fail(a[1], "AGXMetal", 3, "refused by the test")
			}
			return 0
		}
		var v any
		if value != nil {
			v = value(f, a)
		}
		return uintptr(f.make(class, v))
	}
}

func yes(ok bool) uintptr {
	if ok {
		return 1
	}
	return 0
}

func init() {
	answers = map[*method]func(f *fake, self id, o *object, a args) uintptr{
		alloc: func(f *fake, _ id, o *object, _ args) uintptr { return uintptr(f.make(o.class[1:], nil)) },
		initObject: func(_ *fake, self id, _ *object, _ args) uintptr {
			return uintptr(self)
		},
		retain:  func(_ *fake, self id, o *object, _ args) uintptr { o.refs++; return uintptr(self) },
		release: func(f *fake, self id, _ *object, _ args) uintptr { f.drop(self); return 0 },
		respondsToSelector: func(f *fake, _ id, o *object, a args) uintptr {
			m := methods[a[0]-1]
			return yes(f.is(o, m.receiver) && f.macOS >= m.since)
		},
		initWithBytes: func(f *fake, self id, o *object, a args) uintptr {
			if a[2] != utf8Encoding {
				f.t.Errorf("string in encoding %d", a[2])
			}
			o.value = string(bytesAt(a[0], a[1]))
			return uintptr(self)
		},
		utf8String: func(f *fake, _ id, o *object, _ args) uintptr {
			b := append([]byte(o.value.(string)), 0)
			f.kept = append(f.kept, b)
			return address(&b[0])
		},
		processInfo: func(f *fake, _ id, _ *object, _ args) uintptr { return uintptr(f.pooled("NSProcessInfo", nil)) },
		isAtLeast: func(f *fake, _ id, _ *object, a args) uintptr {
			w := words(a[0])
			return yes(uint64(f.macOS) >= 100*w[0]+w[1])
		},
		systemVersion: func(f *fake, _ id, _ *object, _ args) uintptr {
			return f.string(fmt.Sprintf("Version %d.%d (Build 1A2)", f.macOS/100, f.macOS%100))
		},
		physicalMemory: number(128 << 30),
		localizedDescription: func(f *fake, _ id, o *object, _ args) uintptr {
			return f.string(o.value.(*failure).text)
		},
		errorDomain:   func(f *fake, _ id, o *object, _ args) uintptr { return f.string(o.value.(*failure).domain) },
		errorCode:     func(_ *fake, _ id, o *object, _ args) uintptr { return uintptr(o.value.(*failure).code) },
		userInfo:      func(_ *fake, _ id, o *object, _ args) uintptr { return uintptr(o.value.(*failure).info) },
		objectForKey:  dictionary,
		arrayCount:    func(_ *fake, _ id, o *object, _ args) uintptr { return uintptr(len(o.value.([]id))) },
		objectAtIndex: func(_ *fake, _ id, o *object, a args) uintptr { return uintptr(o.value.([]id)[a[0]]) },
	}
	for _, more := range []map[*method]func(*fake, id, *object, args) uintptr{deviceAnswers(), commandAnswers(), encoderAnswers()} {
		for m, a := range more {
			answers[m] = a
		}
	}
}

func dictionary(f *fake, _ id, o *object, a args) uintptr {
	if key := f.objects[id(a[0])].value; key != "MTLCommandBufferEncoderInfoErrorKey" {
		f.t.Errorf("key %v", key)
	}
	return uintptr(o.value.(id))
}

func deviceAnswers() map[*method]func(*fake, id, *object, args) uintptr {
	option := func(name string) func(*fake, id, *object, args) uintptr {
		return func(f *fake, _ id, _ *object, a args) uintptr { f.options[name] = a[0]; return 0 }
	}
	nothing := number(0)
	return map[*method]func(*fake, id, *object, args) uintptr{
		deviceName:           func(f *fake, _ id, _ *object, _ args) uintptr { return f.string("Apple M9") },
		supportsFamily:       func(f *fake, _ id, _ *object, a args) uintptr { return 0x5500 | yes(a[0] <= f.family) },
		hasUnifiedMemory:     func(f *fake, _ id, _ *object, _ args) uintptr { return yes(f.unified) },
		maxBufferLength:      number(1 << 20),
		maxWorkingSet:        number(3 << 20),
		maxThreadgroupMemory: number(32 << 10),
		newCommandQueue:      creator(&newCommandQueue, "MTLCommandQueue", nil),
		newFence:             creator(&newFence, "MTLFence", nil),
		newBufferWithLength: creator(&newBufferWithLength, "MTLBuffer", func(f *fake, a args) any {
			if a[1] != 0x100 {
				f.t.Errorf("buffer of options %#x, want shared and untracked", a[1])
			}
			return make([]byte, a[0])
		}),
		newBufferNoCopy: creator(&newBufferNoCopy, "MTLBuffer", func(_ *fake, a args) any { return bytesAt(a[0], a[1]) }),
		bufferContents: func(_ *fake, _ id, o *object, _ args) uintptr {
			return address(unsafe.SliceData(o.value.([]byte)))
		},
		setLanguageVersion:   option("language"),
		setFastMathEnabled:   option("fast"),
		setMathMode:          option("mode"),
		setMathFunctions:     option("functions"),
		newLibraryWithSource: compileSource,
		newFunctionWithName: func(f *fake, _ id, o *object, a args) uintptr {
			name := f.objects[id(a[0])].value.(string)
			if f.refuse[newFunctionWithName] || !bytes.Contains([]byte(o.value.(string)), []byte(name)) {
				return 0
			}
			return uintptr(f.make("MTLFunction", name))
		},
		newPipeline: creator(&newPipeline, "MTLComputePipelineState", func(f *fake, a args) any {
			return &pipeline{f.objects[id(a[0])].value.(string)}
		}),
		threadExecutionWidth: func(f *fake, _ id, _ *object, _ args) uintptr { return uintptr(f.width) },
		maxThreads:           number(256),
		staticThreadgroup: func(_ *fake, _ id, o *object, _ args) uintptr {
			if o.value.(*pipeline).name == "greedy" {
				return 33 << 10
			}
			return 4 << 10
		},
		newResidencySet:       creator(&newResidencySet, "MTLResidencySet", func(*fake, args) any { return map[id]bool{} }),
		addAllocation:         func(_ *fake, _ id, o *object, a args) uintptr { o.value.(map[id]bool)[id(a[0])] = true; return 0 },
		removeAllocation:      func(_ *fake, _ id, o *object, a args) uintptr { delete(o.value.(map[id]bool), id(a[0])); return 0 },
		commitResidency:       nothing,
		requestResidency:      nothing,
		endResidency:          nothing,
		addResidencySet:       nothing,
		setErrorOptions:       option("errors"),
		setRetainedReferences: func(_ *fake, _ id, o *object, a args) uintptr { o.value = a[0] == 0; return 0 },
	}
}

func compileSource(f *fake, _ id, _ *object, a args) uintptr {
	f.source = f.objects[id(a[0])].value.(string)
	if bytes.Contains([]byte(f.source), []byte("syntax error")) {
		f.fail(a[2], "MTLLibraryErrorDomain", 3, "program_source:1:1: error: a\nprogram_source:2:1: error: b")
		return 0
	}
	f.fail(a[2], "MTLLibraryErrorDomain", 4, "program_source:1:1: warning: unused variable")
	return uintptr(f.make("MTLLibrary", f.source))
}
