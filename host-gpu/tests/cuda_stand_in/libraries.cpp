// Stands in for NVIDIA's libraries on a machine without a GPU: the device's memory is the host's, a stream runs what
// it is given at once, and a capture keeps it. Only what the executor calls, with the types of NVIDIA's headers.
// It is strict: memory must have been taken, sizes must fit the descriptions, nothing is taken while a stream records.
#include <cstdint>
#include <elf.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>
#include <unistd.h>

static int setting(const char* name, int otherwise) {
    const char* said = getenv(name);
    return said ? atoi(said) : otherwise;
}

#define API extern "C" __attribute__((visibility("default")))

#ifdef DECOY_EMPTY
// A toolkit that is there but for its functions.
API int nvrtcVersion(int* major, int* minor) { *major = 12; *minor = 9; return 0; }
API size_t cublasLtGetVersion() { return 120900; }
API size_t cudnnGetVersion() { return 91100; }
#else
// Other decoys: of an old CUDA, of a newer one than the driver's, one in which everything fails.
#if defined DECOY_OLD
enum { TOOLKIT = 11, CUDNN = 8902, BROKEN = 0 };
#elif defined DECOY_NEW
enum { TOOLKIT = 13, CUDNN = 91200, BROKEN = 0 };
#elif defined DECOY_FAILS
enum { TOOLKIT = 12, CUDNN = 91300, BROKEN = 1 };
#else
enum { TOOLKIT = 12, CUDNN = 91002, BROKEN = 0 };
#endif

// ---- The driver. ----
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200, NOT_FOUND = 500, LOST = 700, CAPTURED = 900 };
typedef std::function<void()> Work;
struct Stream { std::vector<Work>* record = nullptr; };
struct Graph { std::vector<Work> work; };

static std::map<uint64_t, size_t> taken;
static size_t taken_bytes = 0;
static int recording = 0;
static void* current = nullptr;

static size_t memory() { return (size_t)setting("STAND_IN_MEMORY_MIB", 64) << 20; }

// STAND_IN_FAULT is "WHERE HOW": where something goes wrong (product, convolution), and how: it dies, hangs, gives wrong
// values, or the device is lost (lost: from then on nothing works in this process).
static bool lost = false;
static bool faulty(const char* where, const char* how) {
    const char* said = getenv("STAND_IN_FAULT");
    return said && said == std::string(where) + " " + how;
}
static int misfortune(const char* where) {
    if (faulty(where, "dies")) { fprintf(stderr, "the stand-in dies\n"); abort(); }
    while (faulty(where, "hangs")) sleep(1);
    if (faulty(where, "lost")) lost = true;
    return lost;
}

static void fail(const char* what) {
    fprintf(stderr, "stand-in: %s\n", what);
    abort();
}

// Whether the bytes lie in memory that was taken.
static void check(const void* at, size_t bytes, const char* what) {
    if (bytes == 0) return;
    uint64_t address = (uint64_t)at;
    auto after = taken.upper_bound(address);
    if (after == taken.begin()) fail(what);
    --after;
    if (address + bytes > after->first + after->second) fail(what);
}

static int queue(void* stream, Work work) {
    if (!stream) fail("the stream of all contexts is used");
    if (lost) return LOST;
    Stream* s = (Stream*)stream;
    if (s->record) s->record->push_back(work);
    else work();
    return OK;
}

API int cuDriverGetVersion(int* version) { *version = setting("STAND_IN_DRIVER", 12040); return OK; }
// NVRTC 13 asks for it where it finds a driver, and believes what it gets.
API int cuGetExportTable(const void**, const void*) { return NOT_FOUND; }
API int cuInit(unsigned) { return setting("STAND_IN_GPUS", 1) ? OK : NO_DEVICE; }
API int cuDeviceGetCount(int* count) { *count = setting("STAND_IN_GPUS", 1); return OK; }
API int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return OK; }
API int cuDeviceGetName(char* name, int len, int) { snprintf(name, len, "Stand-in"); return OK; }
API int cuDeviceGetAttribute(int* value, int attribute, int) {
    // Compute capability 8.0; everything that is asked for is supported.
    *value = attribute == 75 ? 8 : attribute == 76 ? 0 : 1;
    return OK;
}
API int cuDevicePrimaryCtxRetain(void** context, int device) { *context = (void*)(intptr_t)(device + 1); return OK; }
API int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
API int cuCtxGetCurrent(void** context) { *context = current; return OK; }
API int cuCtxSetCurrent(void* context) { current = context; return OK; }
API int cuCtxSynchronize() { return lost ? LOST : OK; }
API int cuMemGetInfo_v2(size_t* left, size_t* total) { *total = memory(); *left = memory() - taken_bytes; return OK; }
API int cuGetErrorName(int error, const char** name) {
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE"
          : error == INVALID_IMAGE ? "CUDA_ERROR_INVALID_IMAGE" : error == LOST ? "CUDA_ERROR_ILLEGAL_ADDRESS" : error == NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : error == CAPTURED ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
          : "CUDA_ERROR_INVALID_VALUE";
    return OK;
}
API int cuGetErrorString(int, const char** text) { *text = "as the stand-in says"; return OK; }

static int take(uint64_t* address, size_t bytes) {
    if (lost) return LOST;
    if (recording) return CAPTURED;
    if (taken_bytes + bytes > memory()) return OUT_OF_MEMORY;
    void* at = aligned_alloc(256, (bytes + 255) / 256 * 256);
    // What was there before is not known: NaN in every type.
    memset(at, 0xff, bytes);
    *address = (uint64_t)at;
    taken[*address] = bytes;
    taken_bytes += bytes;
    return OK;
}
static int give(uint64_t address) {
    auto found = taken.find(address);
    if (found == taken.end()) fail("memory is given back that was not taken");
    taken_bytes -= found->second;
    taken.erase(found);
    free((void*)address);
    return OK;
}
API int cuMemAllocAsync(uint64_t* address, size_t bytes, void*) { return take(address, bytes); }
API int cuMemFreeAsync(uint64_t address, void*) { return give(address); }
API int cuMemAlloc_v2(uint64_t* address, size_t bytes) { return take(address, bytes); }
API int cuMemFree_v2(uint64_t address) { return give(address); }
API int cuMemHostAlloc(void** at, size_t bytes, unsigned) { *at = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096); return OK; }
API int cuMemFreeHost(void* at) { free(at); return OK; }
API int cuDeviceGetDefaultMemPool(void** pool, int) { *pool = (void*)1; return OK; }
API int cuMemPoolSetAttribute(void*, int attribute, void* value) {
    return attribute == 4 && *(uint64_t*)value == UINT64_MAX ? OK : INVALID;
}
API int cuMemPoolTrimTo(void*, size_t) { return OK; }

API int cuStreamCreate(void** stream, unsigned) { *stream = new Stream; return OK; }
API int cuStreamDestroy_v2(void* stream) { delete (Stream*)stream; return OK; }
API int cuStreamSynchronize(void* stream) { return lost ? LOST : ((Stream*)stream)->record ? CAPTURED : OK; }
API int cuStreamWaitEvent(void*, void*, unsigned) { return OK; }
API int cuEventCreate(void** event, unsigned) { *event = malloc(1); return OK; }
API int cuEventDestroy_v2(void* event) { free(event); return OK; }
API int cuEventRecord(void*, void*) { return OK; }
API int cuEventSynchronize(void*) { return OK; }
API int cuStreamBeginCapture_v2(void* stream, int) {
    ((Stream*)stream)->record = new std::vector<Work>;
    recording++;
    return OK;
}
API int cuStreamEndCapture(void* stream, void** graph) {
    Stream* s = (Stream*)stream;
    *graph = new Graph{*s->record};
    delete s->record;
    s->record = nullptr;
    recording--;
    return OK;
}
API int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long) { *exec = new Graph(*(Graph*)graph); return OK; }
API int cuGraphUpload(void*, void*) { return OK; }
API int cuGraphLaunch(void* exec, void*) {
    for (auto& work : ((Graph*)exec)->work) work();
    return OK;
}
API int cuGraphExecDestroy(void* exec) { delete (Graph*)exec; return OK; }
API int cuGraphDestroy(void* graph) { delete (Graph*)graph; return OK; }

API int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
    check((void*)to, bytes, "a copy to the device leaves its memory");
    return queue(stream, [=] { memcpy((void*)to, from, bytes); });
}
API int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream) {
    check((void*)from, bytes, "a copy from the device leaves its memory");
    return queue(stream, [=] { memcpy(to, (void*)from, bytes); });
}
API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream) {
    check((void*)to, bytes, "a copy leaves its memory");
    check((void*)from, bytes, "a copy leaves its memory");
    return queue(stream, [=] { memmove((void*)to, (void*)from, bytes); });
}
API int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, void* stream) {
    check((void*)at, bytes, "zeros leave their memory");
    return queue(stream, [=] { memset((void*)at, value, bytes); });
}
API int cuMemsetD8_v2(uint64_t at, unsigned char value, size_t bytes) {
    check((void*)at, bytes, "zeros leave their memory");
    memset((void*)at, value, bytes);
    return OK;
}

static float widened(uint16_t bits) {
    uint32_t all = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &all, 4);
    return value;
}
static uint16_t shortened(float value) {
    uint32_t all;
    memcpy(&all, &value, 4);
    return value != value ? all >> 16 | 0x40 : (all + 0x7fff + ((all >> 16) & 1)) >> 16;
}

// An image is an ELF of one section, the source behind its options. Of its kernels one is known here:
// to_map(const float* x, map_t* out, unsigned long long n).
static std::string image_of(const std::string& text) {
    const char names[] = "\0.text.all\0.shstrtab";
    Elf64_Shdr sections[3] = {};
    size_t at = sizeof(Elf64_Ehdr);
    sections[1] = {1, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0, at, text.size() + 1, 0, 0, 1, 0};
    sections[2] = {11, SHT_STRTAB, 0, 0, at + text.size() + 1, sizeof names, 0, 0, 1, 0};
    Elf64_Ehdr head = {};
    memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    head.e_ident[EI_VERSION] = EV_CURRENT;
    head.e_type = ET_EXEC;
    head.e_machine = 190;
    head.e_version = EV_CURRENT;
    head.e_shoff = sections[2].sh_offset + sizeof names;
    head.e_ehsize = sizeof head;
    head.e_shentsize = sizeof(Elf64_Shdr);
    head.e_shnum = 3;
    head.e_shstrndx = 2;
    return std::string((char*)&head, sizeof head) + text + std::string(1, '\0') + std::string(names, sizeof names)
         + std::string((char*)sections, sizeof sections);
}
API int cuModuleLoadData(void** module, const void* image) {
    if (lost) return LOST;
    const char* damage = getenv("STAND_IN_IMAGE");
    if (memcmp(image, ELFMAG, SELFMAG) || (damage && !strcmp(damage, "cut"))) return INVALID_IMAGE;
    *module = new std::string((const char*)image + sizeof(Elf64_Ehdr));
    return OK;
}
API int cuModuleUnload(void* module) { delete (std::string*)module; return OK; }
API int cuModuleGetFunction(void** function, void* module, const char* name) {
    if (((std::string*)module)->find(std::string(" ") + name + "(") == std::string::npos) return NOT_FOUND;
    bool halves = ((std::string*)module)->find("-DMAP_BF16") != std::string::npos;
    *function = (void*)strdup(halves ? (std::string(name) + " in bf16").c_str() : name);
    return OK;
}
API int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void* stream, void** args, void** extra) {
    std::string name = (char*)function;
    bool halves = name == "to_map in bf16";
    if ((name != "to_map" && !halves) || x != 3 || y != 1 || z != 1 || bx != 256 || by != 1 || bz != 1) return INVALID;
    if (shared || extra) return INVALID;
    const float* from = *(const float**)args[0];
    void* to = *(void**)args[1];
    size_t n = *(unsigned long long*)args[2];
    check(from, 4 * n, "a kernel reads beyond its memory");
    check(to, (halves ? 2 : 4) * n, "a kernel writes beyond its memory");
    return queue(stream, [=] {
        for (size_t i = 0; i < n; i++)
            if (halves) ((uint16_t*)to)[i] = shortened(from[i]);
            else ((float*)to)[i] = from[i];
    });
}

// ---- NVRTC: the compiled kernels are the source behind its options, as an ELF. ----
struct Program { std::string source, image; };
API int nvrtcVersion(int* major, int* minor) { *major = setting("STAND_IN_NVRTC", TOOLKIT); *minor = 4; return 0; }
API int nvrtcGetNumSupportedArchs(int* count) { *count = 2; return 0; }
API int nvrtcGetSupportedArchs(int* list) { list[0] = 75; list[1] = 80; return 0; }
API int nvrtcCreateProgram(void** program, const char* source, const char*, int, const char* const*, const char* const*) {
    *program = new Program{source, ""};
    return 0;
}
API int nvrtcCompileProgram(void* program, int count, const char* const* options) {
    Program* p = (Program*)program;
    if (BROKEN) return 6;
    for (int i = 0; i < count; i++) p->image += std::string("// ") + options[i] + "\n";
    p->image = image_of(p->image + p->source);
    // The small trial is compiled well; of the kernels the image may be damaged.
    const char* damage = p->source.size() > 1000 ? getenv("STAND_IN_IMAGE") : nullptr;
    if (damage && !strcmp(damage, "empty")) p->image.clear();
    if (damage && !strcmp(damage, "text")) p->image = p->source;
    if (damage && !strcmp(damage, "cut")) p->image.resize(p->image.size() / 2);
    return 0;
}
API int nvrtcGetCUBINSize(void* program, size_t* bytes) { *bytes = ((Program*)program)->image.size(); return 0; }
API int nvrtcGetCUBIN(void* program, char* image) {
    const std::string& made = ((Program*)program)->image;
    memcpy(image, made.data(), made.size());
    return 0;
}
API int nvrtcDestroyProgram(void** program) { delete (Program*)*program; return 0; }

// ---- cuBLASLt: plain loops over columns. ----
struct Matrix { uint64_t rows, columns; int64_t distance; };
struct Product { int compute, transposed[2]; };
struct Algorithm { uint64_t data[8]; };
struct Found { Algorithm algorithm; size_t workspace; int state; float waves; int reserved[4]; };
struct Wishes { size_t workspace; int split; };
API size_t cublasLtGetVersion() { return TOOLKIT * 10000 + 402; }
API int cublasLtCreate(void** handle) { *handle = malloc(1); return 0; }
API int cublasLtDestroy(void* handle) { free(handle); return 0; }
API int cublasLtMatrixLayoutCreate(void** m, int type, uint64_t rows, uint64_t columns, int64_t distance) {
    if (type != 0 || BROKEN) return 7;
    *m = new Matrix{rows, columns, distance};
    return 0;
}
API int cublasLtMatrixLayoutDestroy(void* m) { delete (Matrix*)m; return 0; }
API int cublasLtMatmulDescCreate(void** p, int compute, int type) {
    if (type != 0) return 7;
    *p = new Product{compute, {0, 0}};
    return 0;
}
API int cublasLtMatmulDescDestroy(void* p) { delete (Product*)p; return 0; }
API int cublasLtMatmulDescSetAttribute(void* p, int attribute, const void* value, size_t bytes) {
    if (bytes != 4 || attribute < 3 || attribute > 4) return 7;
    ((Product*)p)->transposed[attribute - 3] = *(const int*)value;
    return 0;
}
API int cublasLtMatmulPreferenceCreate(void** w) { *w = new Wishes{0, 1}; return 0; }
API int cublasLtMatmulPreferenceDestroy(void* w) { delete (Wishes*)w; return 0; }
API int cublasLtMatmulPreferenceSetAttribute(void* w, int attribute, const void* value, size_t bytes) {
    if (bytes != (attribute == 1 ? 8u : 4u)) return 7;
    if (attribute == 1) ((Wishes*)w)->workspace = *(const size_t*)value;
    if (attribute == 3) ((Wishes*)w)->split = *(const int*)value;
    return 0;
}
static void sizes(const Matrix* m, int transposed, uint64_t* rows, uint64_t* columns) {
    *rows = transposed ? m->columns : m->rows;
    *columns = transposed ? m->rows : m->columns;
}
API int cublasLtMatmulAlgoGetHeuristic(void*, void* p, void* a, void* b, void* c, void* d, void* w, int asked, void* results, int* count) {
    Product* product = (Product*)p;
    uint64_t m, k, k2, n;
    sizes((Matrix*)a, product->transposed[0], &m, &k);
    sizes((Matrix*)b, product->transposed[1], &k2, &n);
    Matrix *out = (Matrix*)c, *out2 = (Matrix*)d;
    if (asked < 1 || k != k2 || out->rows != m || out->columns != n || out2->rows != m || out2->columns != n) return 7;
    // Products of f32, or with factors rounded to bf16.
    if (product->compute != 68 && product->compute != 75) return 15;
    // With split sums it wants scratch.
    // The first of two ways is the one that fails where one is to fail; of one that must not split sums there is but one.
    int split = ((Wishes*)w)->split;
    *count = 0;
    for (uint64_t way = split ? 0 : 1; way < 2 && *count < asked; way++)
        ((Found*)results)[(*count)++] = Found{{{m, n, k, way}}, split ? 4096u : 0u, 0, 1.0f, {0}};
    return 0;
}
API int cublasLtMatmul(void*, void* p, const void* alpha, const void* A, void* a, const void* B, void* b, const void* beta,
                       const void*, void*, void* D, void* d, const void* algorithm, void* scratch, size_t bytes, void* stream) {
    const Algorithm* chosen = (const Algorithm*)algorithm;
    uint64_t m = chosen->data[0], n = chosen->data[1], k = chosen->data[2];
    if (*(const float*)alpha != 1.0f || *(const float*)beta != 0.0f) return 7;
    const Matrix x = *(Matrix*)a, y = *(Matrix*)b, z = *(Matrix*)d;
    const Product product = *(Product*)p;
    check(A, 4 * x.distance * x.columns, "the first operand of a product is too short");
    check(B, 4 * y.distance * y.columns, "the second operand of a product is too short");
    check(D, 4 * z.distance * z.columns, "the result of a product is too short");
    check(scratch, bytes, "the scratch of a product is too short");
    if (misfortune("product")) return 13;
    if (chosen->data[3] == 0 && faulty("first", "refuses")) return 13;
    if (chosen->data[3] == 0 && faulty("first", "nothing")) return 0;
    return queue(stream, [=] {
        const float *first = (const float*)A, *second = (const float*)B;
        if (bytes) memset(scratch, 0xff, bytes);
        for (uint64_t j = 0; j < n; j++)
            for (uint64_t i = 0; i < m; i++) {
                double sum = 0;
                for (uint64_t l = 0; l < k; l++)
                    sum += (double)first[product.transposed[0] ? i * x.distance + l : l * x.distance + i]
                         * second[product.transposed[1] ? l * y.distance + j : j * y.distance + l];
                ((float*)D)[j * z.distance + i] = (float)sum;
            }
    });
}

// ---- cuDNN: plain loops over strides. Formats: 0 channels first, 1 channels last. ----
struct Tensor { int format, type, size[4]; size_t stride[4]; };
struct Geometry { int pad[2], step[2], math; };
static int set(void* tensor, int format, int type, int n, int c, int h, int w) {
    if (format > 1 || (type != 0 && type != 9)) return 2000;
    size_t s[4] = {(size_t)c * h * w, format ? 1u : (size_t)h * w, format ? (size_t)w * c : (size_t)w, format ? (size_t)c : 1u};
    *(Tensor*)tensor = Tensor{format, type, {n, c, h, w}, {s[0], s[1], s[2], s[3]}};
    return 0;
}
static size_t bytes_of(const Tensor* t) {
    return (size_t)t->size[0] * t->size[1] * t->size[2] * t->size[3] * (t->type == 9 ? 2 : 4);
}
static size_t place(const Tensor& t, int n, int c, int h, int w) {
    return n * t.stride[0] + c * t.stride[1] + h * t.stride[2] + w * t.stride[3];
}
static float get(const void* values, const Tensor& t, size_t place) {
    return t.type == 9 ? widened(((uint16_t*)values)[place]) : ((float*)values)[place];
}
static void set_value(void* values, const Tensor& t, size_t place, float value) {
    if (t.type == 9) ((uint16_t*)values)[place] = shortened(value);
    else ((float*)values)[place] = value;
}
API size_t cudnnGetVersion() { return setting("STAND_IN_CUDNN", CUDNN); }
API void cudnnGetLastErrorString(char* text, size_t len) { snprintf(text, len, "as the stand-in says"); }
API int cudnnCreate(void** handle) { *handle = calloc(1, sizeof(void*)); return 0; }
API int cudnnDestroy(void* handle) { free(handle); return 0; }
API int cudnnSetStream(void* handle, void* stream) { *(void**)handle = stream; return 0; }
API int cudnnCreateTensorDescriptor(void** t) { *t = new Tensor; return BROKEN ? 1002 : 0; }
API int cudnnDestroyTensorDescriptor(void* t) { delete (Tensor*)t; return 0; }
API int cudnnSetTensor4dDescriptor(void* t, int format, int type, int n, int c, int h, int w) { return set(t, format, type, n, c, h, w); }
API int cudnnCreateFilterDescriptor(void** t) { *t = new Tensor; return 0; }
API int cudnnDestroyFilterDescriptor(void* t) { delete (Tensor*)t; return 0; }
API int cudnnSetFilter4dDescriptor(void* t, int type, int format, int k, int c, int h, int w) { return set(t, format, type, k, c, h, w); }
API int cudnnCreateConvolutionDescriptor(void** g) { *g = new Geometry; return 0; }
API int cudnnDestroyConvolutionDescriptor(void* g) { delete (Geometry*)g; return 0; }
API int cudnnSetConvolution2dDescriptor(void* g, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int type) {
    if (dh != 1 || dw != 1 || mode != 1 || type != 0) return 2000;
    *(Geometry*)g = Geometry{{ph, pw}, {sh, sw}, 0};
    return 0;
}
API int cudnnSetConvolutionMathType(void* g, int math) { ((Geometry*)g)->math = math; return 0; }

struct Performance { int algorithm, status; float time; size_t memory; int determinism, math, reserved[3]; };

// The sizes must fit each other; then there are two algorithms, the first one fast, forgetful of the order, and hungry.
static int offer(const Tensor* x, const Tensor* w, const Tensor* y, const Geometry* g, int asked, int* count, Performance* list) {
    if (x->size[0] != y->size[0] || x->size[1] != w->size[1] || w->size[0] != y->size[1]) return 2000;
    for (int i = 0; i < 2; i++)
        if ((x->size[2 + i] + 2 * g->pad[i] - w->size[2 + i]) / g->step[i] + 1 != y->size[2 + i]) return 2000;
    if (x->format != w->format || x->format != y->format || asked < 3) return 2000;
    if (x->format == 1 && !setting("STAND_IN_CHANNELS_LAST", 1)) return 3000;
    list[0] = Performance{5, 3000, -1, 0, 1, g->math, {0}};
    list[1] = Performance{0, 0, 1, 1000, 0, g->math, {0}};
    list[2] = Performance{1, 0, 2, 512, 1, g->math, {0}};
    *count = 3;
    return 0;
}
static size_t hunger(int algorithm) { return algorithm == 0 ? 1000 : 512; }
static int size_of(int algorithm, size_t* bytes) { *bytes = hunger(algorithm); return algorithm > 1 ? 3000 : 0; }
static int tried(const Tensor* a, const void* A, const Tensor* b, const void* B, const Tensor* c, void* C, void* scratch, size_t bytes) {
    check(A, bytes_of(a), "an operand of a trial is too short");
    check(B, bytes_of(b), "an operand of a trial is too short");
    check(C, bytes_of(c), "the result of a trial is too short");
    check(scratch, bytes, "the scratch of a trial is too short");
    memset(C, 0xff, bytes_of(c));
    return 0;
}
typedef Tensor T;
API int cudnnGetConvolutionForwardAlgorithm_v7(void*, T* x, T* w, Geometry* g, T* y, int asked, int* count, Performance* list) { return offer(x, w, y, g, asked, count, list); }
API int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void*, T* x, T* y, Geometry* g, T* w, int asked, int* count, Performance* list) { return offer(x, w, y, g, asked, count, list); }
API int cudnnGetConvolutionBackwardDataAlgorithm_v7(void*, T* w, T* y, Geometry* g, T* x, int asked, int* count, Performance* list) { return offer(x, w, y, g, asked, count, list); }
API int cudnnFindConvolutionForwardAlgorithmEx(void*, T* x, void* X, T* w, void* W, Geometry* g, T* y, void* Y, int asked, int* count, Performance* list, void* scratch, size_t bytes) {
    return tried(x, X, w, W, y, Y, scratch, bytes) || offer(x, w, y, g, asked, count, list);
}
API int cudnnFindConvolutionBackwardFilterAlgorithmEx(void*, T* x, void* X, T* y, void* Y, Geometry* g, T* w, void* W, int asked, int* count, Performance* list, void* scratch, size_t bytes) {
    return tried(x, X, y, Y, w, W, scratch, bytes) || offer(x, w, y, g, asked, count, list);
}
API int cudnnFindConvolutionBackwardDataAlgorithmEx(void*, T* w, void* W, T* y, void* Y, Geometry* g, T* x, void* X, int asked, int* count, Performance* list, void* scratch, size_t bytes) {
    return tried(w, W, y, Y, x, X, scratch, bytes) || offer(x, w, y, g, asked, count, list);
}
API int cudnnGetConvolutionForwardWorkspaceSize(void*, T*, T*, Geometry*, T*, int algorithm, size_t* bytes) { return size_of(algorithm, bytes); }
API int cudnnGetConvolutionBackwardFilterWorkspaceSize(void*, T*, T*, Geometry*, T*, int algorithm, size_t* bytes) { return size_of(algorithm, bytes); }
API int cudnnGetConvolutionBackwardDataWorkspaceSize(void*, T*, T*, Geometry*, T*, int algorithm, size_t* bytes) { return size_of(algorithm, bytes); }

// pass: 0 output, 1 gradient of the weights, 2 gradient of the input.
static int convolve(int pass, void* handle, const void* alpha, const void* beta, const Tensor* x, const void* X, const Tensor* w,
                    const void* W, const Geometry* g, const Tensor* y, const void* Y, int algorithm, void* scratch, size_t bytes) {
    if (*(const float*)alpha != 1.0f || *(const float*)beta != 0.0f) return 2000;
    if (bytes < hunger(algorithm)) return 2000;
    check(X, bytes_of(x), "the input of a convolution is too short");
    check(W, bytes_of(w), "the weights of a convolution are too short");
    check(Y, bytes_of(y), "the output of a convolution is too short");
    check(scratch, bytes, "the scratch of a convolution is too short");
    const Tensor tx = *x, tw = *w, ty = *y;
    const Geometry geometry = *g;
    if (misfortune("convolution")) return 5000;
    // An algorithm that was offered, and then does not do it.
    bool first = algorithm == 0 && (faulty("first", "refuses") || faulty("first", "nothing"));
    if (faulty("all", "refuses") || (first && faulty("first", "refuses"))) return 5000;
    if (faulty("all", "nothing") || first) return 0;
    return queue(*(void**)handle, [=] {
        memset(scratch, 0xff, bytes);
        const Tensor& to = pass == 0 ? ty : pass == 1 ? tw : tx;
        void* out = (void*)(pass == 0 ? Y : pass == 1 ? W : X);
        std::vector<double> sums(bytes_of(&to) / (to.type == 9 ? 2 : 4));
        for (int n = 0; n < ty.size[0]; n++)
        for (int k = 0; k < ty.size[1]; k++)
        for (int i = 0; i < ty.size[2]; i++)
        for (int j = 0; j < ty.size[3]; j++)
        for (int c = 0; c < tw.size[1]; c++)
        for (int r = 0; r < tw.size[2]; r++)
        for (int s = 0; s < tw.size[3]; s++) {
            int h = i * geometry.step[0] - geometry.pad[0] + r, v = j * geometry.step[1] - geometry.pad[1] + s;
            if (h < 0 || v < 0 || h >= tx.size[2] || v >= tx.size[3]) continue;
            size_t a = place(tx, n, c, h, v), b = place(tw, k, c, r, s), d = place(ty, n, k, i, j);
            if (pass == 0) sums[d] += (double)get(X, tx, a) * get(W, tw, b);
            if (pass == 1) sums[b] += (double)get(X, tx, a) * get(Y, ty, d);
            if (pass == 2) sums[a] += (double)get(W, tw, b) * get(Y, ty, d);
        }
        if (faulty("convolution", "wrong")) sums[sums.size() / 2] *= 1.5;
        for (size_t at = 0; at < sums.size(); at++) set_value(out, to, at, (float)sums[at]);
    });
}
API int cudnnConvolutionForward(void* h, const void* alpha, T* x, void* X, T* w, void* W, Geometry* g, int algorithm, void* scratch, size_t bytes, const void* beta, T* y, void* Y) {
    return convolve(0, h, alpha, beta, x, X, w, W, g, y, Y, algorithm, scratch, bytes);
}
API int cudnnConvolutionBackwardFilter(void* h, const void* alpha, T* x, void* X, T* y, void* Y, Geometry* g, int algorithm, void* scratch, size_t bytes, const void* beta, T* w, void* W) {
    return convolve(1, h, alpha, beta, x, X, w, W, g, y, Y, algorithm, scratch, bytes);
}
API int cudnnConvolutionBackwardData(void* h, const void* alpha, T* w, void* W, T* y, void* Y, Geometry* g, int algorithm, void* scratch, size_t bytes, const void* beta, T* x, void* X) {
    return convolve(2, h, alpha, beta, x, X, w, W, g, y, Y, algorithm, scratch, bytes);
}
API int cudnnTransformTensor(void* h, const void* alpha, T* x, const void* X, const void* beta, T* y, void* Y) {
    if (*(const float*)alpha != 1.0f || *(const float*)beta != 0.0f || memcmp(x->size, y->size, sizeof x->size)) return 2000;
    check(X, bytes_of(x), "what is turned is too short");
    check(Y, bytes_of(y), "what is turned is too short");
    const Tensor from = *x, to = *y;
    return queue(*(void**)h, [=] {
        for (int n = 0; n < from.size[0]; n++)
        for (int c = 0; c < from.size[1]; c++)
        for (int i = 0; i < from.size[2]; i++)
        for (int j = 0; j < from.size[3]; j++)
            set_value(Y, to, place(to, n, c, i, j), get(X, from, place(from, n, c, i, j)));
    });
}
#endif
