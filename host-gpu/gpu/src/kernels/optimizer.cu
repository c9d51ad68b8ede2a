// Steps of the optimisers (docs/paper.md 5.1), four tensors a launch, in the order of operations of `optimizer.rs`.
// After a loss that was not finite nothing is touched any more.

__device__ inline float sgd_step(float p, float g, float lr, float weight_decay) {
    return p - lr * (g + weight_decay * p);
}

__device__ inline void momentum_step(float& p, float& m, float g, float scale, float lr, float momentum,
                                     float weight_decay) {
    m = momentum * m + scale * (g + weight_decay * p);
    p -= lr * m;
}

struct adamw_t {
    float beta1, beta2, eps;
    // What weight decay leaves of a value.
    float shrink;
    // Learning rate over the first moment's correction.
    float rate;
    // Root of the second moment's correction.
    float correction2;
};

__device__ inline adamw_t adamw_of(const control_t* control, float beta1, float beta2, float eps, float weight_decay) {
    adamw_t adamw = {beta1, beta2, eps, 1.0f - control->lr * weight_decay, control->lr / control->correction1,
                     control->correction2};
    return adamw;
}

__device__ inline void adamw_step(float& p, float& m, float& v, float g, const adamw_t& a) {
    m = a.beta1 * m + (1.0f - a.beta1) * g;
    v = a.beta2 * v + (1.0f - a.beta2) * g * g;
    p = a.shrink * p - a.rate * m / (sqrtf(v) / a.correction2 + a.eps);
}

__device__ inline void adamw_step4(float4& p, float4& m, float4& v, const float4& g, const adamw_t& a) {
    adamw_step(p.x, m.x, v.x, g.x, a);
    adamw_step(p.y, m.y, v.y, g.y, a);
    adamw_step(p.z, m.z, v.z, g.z, a);
    adamw_step(p.w, m.w, v.w, g.w, a);
}

__device__ inline void sgd_tensor(float* p, const float* g, u64 n, const control_t* control, float weight_decay) {
    float lr = control->lr;
    EACH(i, n) p[i] = sgd_step(p[i], g[i], lr, weight_decay);
}

__device__ inline void momentum_tensor(float* p, float* m, const float* g, const float* scale, u64 n,
                                       const control_t* control, float momentum, float weight_decay) {
    if (n == 0) return;
    float lr = control->lr, factor = scale ? *scale : 1.0f;
    EACH(i, n) momentum_step(p[i], m[i], g[i], factor, lr, momentum, weight_decay);
}

__device__ inline void adamw_tensor(float* p, float* m, float* v, const float* g, u64 n, const adamw_t& a) {
    u64 done = 0;
    if (by_four(p) && by_four(m) && by_four(v) && by_four(g)) {
        done = n / 4 * 4;
        EACH(i, n / 4) {
            float4 value = ((const float4*)p)[i], first = ((const float4*)m)[i], second = ((const float4*)v)[i];
            adamw_step4(value, first, second, ((const float4*)g)[i], a);
            ((float4*)p)[i] = value;
            ((float4*)m)[i] = first;
            ((float4*)v)[i] = second;
        }
    }
    EACH(rest, n - done) adamw_step(p[done + rest], m[done + rest], v[done + rest], g[done + rest], a);
}

extern "C" __global__ void sgd4(float* p0, const float* g0, unsigned long long n0, float* p1, const float* g1,
                                unsigned long long n1, float* p2, const float* g2, unsigned long long n2, float* p3,
                                const float* g3, unsigned long long n3, const control_t* control, float weight_decay) {
    if (control->stopped) return;
    sgd_tensor(p0, g0, n0, control, weight_decay);
    sgd_tensor(p1, g1, n1, control, weight_decay);
    sgd_tensor(p2, g2, n2, control, weight_decay);
    sgd_tensor(p3, g3, n3, control, weight_decay);
}

extern "C" __global__ void momentum4(float* p0, float* m0, const float* g0, const float* scale0, unsigned long long n0,
                                     float* p1, float* m1, const float* g1, const float* scale1, unsigned long long n1,
                                     float* p2, float* m2, const float* g2, const float* scale2, unsigned long long n2,
                                     float* p3, float* m3, const float* g3, const float* scale3, unsigned long long n3,
                                     const control_t* control, float momentum, float weight_decay) {
    if (control->stopped) return;
    momentum_tensor(p0, m0, g0, scale0, n0, control, momentum, weight_decay);
    momentum_tensor(p1, m1, g1, scale1, n1, control, momentum, weight_decay);
    momentum_tensor(p2, m2, g2, scale2, n2, control, momentum, weight_decay);
    momentum_tensor(p3, m3, g3, scale3, n3, control, momentum, weight_decay);
}

extern "C" __global__ void adamw4(float* p0, float* m0, float* v0, const float* g0, unsigned long long n0, float* p1,
                                  float* m1, float* v1, const float* g1, unsigned long long n1, float* p2, float* m2,
                                  float* v2, const float* g2, unsigned long long n2, float* p3, float* m3, float* v3,
                                  const float* g3, unsigned long long n3, const control_t* control, float beta1,
                                  float beta2, float eps, float weight_decay) {
    if (control->stopped) return;
    adamw_t a = adamw_of(control, beta1, beta2, eps, weight_decay);
    adamw_tensor(p0, m0, v0, g0, n0, a);
    adamw_tensor(p1, m1, v1, g1, n1, a);
    adamw_tensor(p2, m2, v2, g2, n2, a);
    adamw_tensor(p3, m3, v3, g3, n3, a);
}

// Squares of a value and of its gradient with decay, as LARS measures them.
__device__ inline pair_t squares(float p, float g, float weight_decay) {
    double decayed = (double)(g + weight_decay * p);
    pair_t pair = {(double)p * (double)p, decayed * decayed};
    return pair;
}

// Each block has an equal part of the tensor.
extern "C" __global__ void lars_partial(const float* p, const float* g, double* partial, float weight_decay,
                                        unsigned long long n) {
    u64 length = (n + gridDim.x - 1) / gridDim.x;
    u64 begin = blockIdx.x * length;
    u64 count = begin >= n ? 0 : (n - begin < length ? n - begin : length);
    pair_t sum = block_sum_pair(count, [=](u64 i) { return squares(p[begin + i], g[begin + i], weight_decay); });
    if (threadIdx.x != 0) return;
    partial[2 * (u64)blockIdx.x] = sum.first;
    partial[2 * (u64)blockIdx.x + 1] = sum.second;
}

// By one block.
extern "C" __global__ void lars_scale(const double* partial, float* scale, float trust, int blocks) {
    pair_t sum = block_sum_pair((u64)blocks, [=](u64 i) {
        pair_t pair = {partial[2 * i], partial[2 * i + 1]};
        return pair;
    });
    if (threadIdx.x != 0) return;
    bool both = sum.first > 0.0 && sum.second > 0.0;
    *scale = both ? (float)((double)trust * sqrt(sum.first / sum.second)) : 1.0f;
}

// The next step begins. It counts even where training has stopped, so that every step's report has a place of its own.
extern "C" __global__ void tick(control_t* control, float beta1, float beta2) {
    if (threadIdx.x != 0 || blockIdx.x != 0) return;
    control->step += 1;
    control->place += 1;
    double step = (double)control->step;
    control->correction1 = (float)(1.0 - pow((double)beta1, step));
    control->correction2 = (float)sqrt(1.0 - pow((double)beta2, step));
}

// Puts a step's report at its place in a ring of `slots`.
extern "C" __global__ void append_report(const double* report, double* ring, const control_t* control, int len,
                                         int slots) {
    double* slot = ring + (control->step - 1) % (u64)slots * (u64)len;
    EACH(i, (u64)len) slot[i] = report[i];
}
