// InfoNCE on pooled activity (docs/paper.md 2.8), in double precision: features of rectified units all point into one
// corner, so their cosines are close to 1 and the gradient is what is left of their differences.
//
// The rows are the first views of all images, then the second ones.

// Smallest norm that a vector is divided by.
#define LEAST_NORM 1e-9

// What the head makes of each row: one block an element.
extern "C" __global__ void nce_embed(const float* p, const float* head, double* e, int rows, int dimension,
                                     int outputs) {
    const float* weight = head + (u64)blockIdx.x * dimension;
    const float* row = p + (u64)blockIdx.y * dimension;
    double sum = block_sum((u64)dimension, [=](u64 i) { return (double)weight[i] * (double)row[i]; });
    if (threadIdx.x == 0) e[(u64)blockIdx.y * outputs + blockIdx.x] = sum;
}

// Directions of the rows, and their lengths: one block a row.
extern "C" __global__ void nce_normalise(double* e, double* norm, int rows, int outputs) {
    double* row = e + (u64)blockIdx.x * outputs;
    double length = sqrt(block_sum((u64)outputs, [=](u64 i) { return row[i] * row[i]; }));
    for (int i = (int)threadIdx.x; i < outputs; i += (int)blockDim.x) row[i] /= fmax(length, LEAST_NORM);
    if (threadIdx.x == 0) norm[blockIdx.x] = length;
}

// Of each first view (blockIdx.y) with each second view (blockIdx.x).
extern "C" __global__ void nce_cosines(const double* e, double* cosines, int pairs, int outputs) {
    const double* first = e + (u64)blockIdx.y * outputs;
    const double* second = e + ((u64)pairs + blockIdx.x) * outputs;
    double sum = block_sum((u64)outputs, [=](u64 i) { return first[i] * second[i]; });
    if (threadIdx.x == 0) cosines[(u64)blockIdx.y * pairs + blockIdx.x] = sum;
}

// The largest of a row, for all threads of the block; what is no number does not count.
__device__ inline double block_max(const double* row, int count) {
    double* most = lanes();
    for (int lane = (int)threadIdx.x; lane < LANES; lane += (int)blockDim.x) {
        most[lane] = -(double)__uint_as_float(0x7F800000u);  // infinity
        for (int i = lane; i < count; i += LANES) most[lane] = fmax(most[lane], row[i]);
    }
    __syncthreads();
    double largest = most[0];
    for (int lane = 1; lane < LANES; lane++) largest = fmax(largest, most[lane]);
    __syncthreads();
    return largest;
}

// Losses, and gradients by the cosines: one block a first view. `pair` is its cosine with its own second view, `other`
// its mean cosine with those of the other images.
extern "C" __global__ void nce_slopes(const double* cosines, double* slopes, double* loss, float* pair, float* other,
                                      float temperature, int pairs) {
    int image = (int)blockIdx.x;
    const double* row = cosines + (u64)image * pairs;
    double t = (double)temperature;
    double most = block_max(row, pairs) / t;
    double total = most + log(block_sum((u64)pairs, [=](u64 i) { return exp(row[i] / t - most); }));
    double sum = block_sum((u64)pairs, [=](u64 i) { return row[i]; });
    double scale = 1.0 / ((double)pairs * t);
    for (int i = (int)threadIdx.x; i < pairs; i += (int)blockDim.x) {
        slopes[(u64)image * pairs + i] = scale * (exp(row[i] / t - total) - (i == image ? 1.0 : 0.0));
    }
    if (threadIdx.x != 0) return;
    loss[image] = total - row[image] / t;
    pair[image] = (float)row[image];
    other[image] = (float)((sum - row[image]) / ((double)pairs - 1.0));
}

// From the gradient by the cosines to that by the head's output: one block a row.
extern "C" __global__ void nce_gradient(const double* e, const double* norm, const double* slopes, double* g, int pairs,
                                        int outputs) {
    int row = (int)blockIdx.x;
    bool is_first = row < pairs;
    const double* others = is_first ? e + (u64)pairs * outputs : e;
    const double* factors = is_first ? slopes + (u64)row * pairs : slopes + (row - pairs);
    int step = is_first ? 1 : pairs;
    const double* direction = e + (u64)row * outputs;
    double* out = g + (u64)row * outputs;
    for (int i = (int)threadIdx.x; i < outputs; i += (int)blockDim.x) {
        double sum = 0.0;
        for (int k = 0; k < pairs; k++) sum += factors[(u64)k * step] * others[(u64)k * outputs + i];
        out[i] = sum;
    }
    __syncthreads();
    double along = block_sum((u64)outputs, [=](u64 i) { return out[i] * direction[i]; });
    // A norm below the least one is a constant: nothing flows through it.
    if (norm[row] < LEAST_NORM) along = 0.0;
    for (int i = (int)threadIdx.x; i < outputs; i += (int)blockDim.x) {
        out[i] = (out[i] - along * direction[i]) / fmax(norm[row], LEAST_NORM);
    }
}

extern "C" __global__ void nce_pooled(const double* g, const float* head, double* pooled, int rows, int dimension,
                                      int outputs) {
    EACH(i, (u64)rows * dimension) {
        u64 row = i;
        int at = take(row, dimension);
        double sum = 0.0;
        for (int output = 0; output < outputs; output++) {
            sum += g[row * outputs + output] * (double)head[(u64)output * dimension + at];
        }
        pooled[i] = sum;
    }
}

extern "C" __global__ void nce_head(const double* g, const float* p, float* gradient, int rows, int dimension,
                                    int outputs) {
    EACH(i, (u64)outputs * dimension) {
        u64 output = i;
        int at = take(output, dimension);
        double sum = 0.0;
        for (int row = 0; row < rows; row++) {
            sum += g[(u64)row * outputs + output] * (double)p[(u64)row * dimension + at];
        }
        gradient[i] = (float)sum;
    }
}
