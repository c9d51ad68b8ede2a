// Scores, third factors and losses (docs/paper.md 1.2 and 2.1), and the gradients that follow from them
// (docs/paper.md 2.2 and 2.3).

enum { HINGE = 0, SOFT_HINGE = 1, GOODNESS = 2, LINEAR = 3, PHYLL = 4 };

// log(1 + exp(x)) without overflow.
__device__ inline double softplus(double x) { return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x))); }

__device__ inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// `max(x, 0)` that lets a NaN through.
__device__ inline double rectified(double x) { return x < 0.0 ? 0.0 : x; }

// One contrast for one row, of which both terms count, or one.
struct contrast_t {
    int kind;
    double theta, pos_coeff;
    bool positive, negative;
    // Of each negative in the mean over them.
    double share;
};

// What one negative adds to the sum of losses, before it is divided by their number.
__device__ inline double negative_loss(const contrast_t& c, double u) {
    if (c.kind == HINGE) return rectified(1.0 + u);
    if (c.kind == SOFT_HINGE) return softplus(1.0 + u);
    return softplus(u - c.theta);
}

// Third factor of one negative, where it hangs on its own score alone.
__device__ inline double negative_factor(const contrast_t& c, double u) {
    if (!c.negative) return 0.0;
    if (c.kind == HINGE) return c.share * (u > -1.0 ? 1.0 : 0.0);
    if (c.kind == SOFT_HINGE) return c.share * sigmoid(1.0 + u);
    return c.share * sigmoid(u - c.theta);
}

__device__ inline double positive_loss(const contrast_t& c, double u) {
    if (c.kind == HINGE) return c.pos_coeff * rectified(1.0 - u);
    if (c.kind == SOFT_HINGE) return c.pos_coeff * softplus(1.0 - u);
    return c.pos_coeff * softplus(c.theta - u);
}

__device__ inline double positive_factor(const contrast_t& c, double u) {
    if (!c.positive) return 0.0;
    if (c.kind == HINGE) return -c.pos_coeff * (u < 1.0 ? 1.0 : 0.0);
    if (c.kind == SOFT_HINGE) return -c.pos_coeff * sigmoid(1.0 - u);
    return -c.pos_coeff * sigmoid(c.theta - u);
}

// One block a row.
extern "C" __global__ void scores(const float* p, const float* s, const int* negatives, const unsigned char* keep,
                                  float* u_pos, float* u_neg, double* g_pos, double* g_neg, double* loss, int rows,
                                  int dimension, int count, int partner, int contrast, float theta, float pos_coeff) {
    int row = (int)blockIdx.x;
    const float* prediction = s + (u64)row * dimension;
    auto score = [=](int scored) {
        const float* activity = p + (u64)scored * dimension;
        return block_sum((u64)dimension, [=](u64 i) { return (double)activity[i] * (double)prediction[i]; });
    };
    contrast_t c = {contrast, (double)theta, (double)pos_coeff, !keep || keep[row], !keep || !keep[row], 1.0 / count};
    // Where activity and context are the same vector, the score changes with both.
    double live = partner == 0 ? 1.0 : 2.0;
    bool separate = contrast != LINEAR && contrast != PHYLL;
    bool first = threadIdx.x == 0;
    double positive = score(partner_of(row, rows, partner));
    double sum = 0.0, loss_sum = 0.0;
    for (int k = 0; k < count; k++) {
        u64 at = (u64)k * rows + row;
        double u = score(partner_of(negatives[at], rows, partner));
        sum += u;
        if (first) u_neg[at] = (float)u;
        if (first && separate) {
            loss_sum += negative_loss(c, u);
            g_neg[at] = live * negative_factor(c, u);
        }
    }
    if (!first) return;
    u_pos[row] = (float)positive;
    if (separate) {
        loss[row] = (c.positive ? positive_loss(c, positive) : 0.0) + (c.negative ? c.share * loss_sum : 0.0);
        g_pos[row] = live * positive_factor(c, positive);
        return;
    }
    double difference = (c.negative ? c.share * sum : 0.0) - (c.positive ? positive : 0.0);
    double gate = contrast == PHYLL ? c.theta * sigmoid(c.theta * difference) : 1.0;
    loss[row] = contrast == PHYLL ? softplus(c.theta * difference) : difference;
    g_pos[row] = c.positive ? live * -gate : 0.0;
    for (int k = 0; k < count; k++) g_neg[(u64)k * rows + row] = c.negative ? live * (gate * c.share) : 0.0;
}

// Means over the rows, by one block. A loss that is not finite stops the training.
extern "C" __global__ void summary(const double* loss, const float* u_pos, const float* u_neg,
                                   const unsigned char* keep, double* out, control_t* control, int rows, int count,
                                   int partner) {
    // Where a row is a positive or a negative by itself, it has one score.
    bool one = partner != 0 && keep;
    u64 all = (u64)rows * count;
    double mean_loss = block_sum((u64)rows, [=](u64 i) { return loss[i]; }) / rows;
    pair_t positives = block_sum_pair((u64)rows, [=](u64 i) {
        bool counts = !one || keep[i];
        pair_t pair = {counts ? (double)u_pos[i] : 0.0, counts ? 1.0 : 0.0};
        return pair;
    });
    pair_t others = block_sum_pair(all, [=](u64 i) {
        bool counts = !one || !keep[i % (u64)rows];
        pair_t pair = {counts ? (double)u_neg[i] : 0.0, counts ? 1.0 : 0.0};
        return pair;
    });
    if (threadIdx.x != 0) return;
    out[0] = mean_loss;
    out[1] = positives.first / positives.second;
    out[2] = others.first / others.second;
    if (!isfinite(mean_loss)) control->stopped = 1;
}

// Each row gathers the predictions that were scored against it, in a fixed order and in double precision: what a row
// gets as a positive and as a negative cancels over the batch wherever all rows are active alike. Blocks of `gridDim.y`
// share a row.
extern "C" __global__ void pooled_gradient(const float* s, const int* negatives, const double* g_pos,
                                           const double* g_neg, double* dp, int rows, int dimension, int count,
                                           int partner, int accumulate) {
    int row = (int)blockIdx.x;
    int begin = (int)(blockIdx.y * blockDim.x + threadIdx.x), step = (int)(gridDim.y * blockDim.x);
    double* sum = dp + (u64)row * dimension;
    int positive = partner_of(row, rows, partner);
    double factor = g_pos[positive] / rows;
    const float* prediction = s + (u64)positive * dimension;
    for (int i = begin; i < dimension; i += step) {
        double before = accumulate ? sum[i] : 0.0;
        sum[i] = g_pos[positive] != 0.0 ? before + factor * (double)prediction[i] : before;
    }
    for (int at = 0; at < rows * count; at++) {
        if (partner_of(negatives[at], rows, partner) != row || g_neg[at] == 0.0) continue;
        factor = g_neg[at] / rows;
        prediction = s + (u64)(at % rows) * dimension;
        for (int i = begin; i < dimension; i += step) sum[i] += factor * (double)prediction[i];
    }
}

// Rows of the projection's gradient (docs/paper.md 2.2): the difference of two similar activities is taken before
// anything is rounded. Blocks of `gridDim.y` share a row.
extern "C" __global__ void projection_errors(const float* p, const int* negatives, const double* g_pos,
                                             const double* g_neg, float* q, int rows, int dimension, int count,
                                             int partner) {
    int row = (int)blockIdx.x;
    const float* positive = p + (u64)partner_of(row, rows, partner) * dimension;
    double rest = g_pos[row];
    for (int k = 0; k < count; k++) rest += g_neg[(u64)k * rows + row];
    // What is left of a sum that is zero in exact arithmetic is rounding.
    if (fabs(rest) < 1e-12 * fabs(g_pos[row])) rest = 0.0;
    float rest_factor = (float)(rest / rows);
    for (int i = (int)(blockIdx.y * blockDim.x + threadIdx.x); i < dimension; i += (int)(gridDim.y * blockDim.x)) {
        float error = 0.0f;
        for (int k = 0; k < count; k++) {
            u64 at = (u64)k * rows + row;
            if (g_neg[at] == 0.0) continue;
            const float* negative = p + (u64)partner_of(negatives[at], rows, partner) * dimension;
            error += (float)(g_neg[at] / rows) * (negative[i] - positive[i]);
        }
        if (rest != 0.0) error += rest_factor * positive[i];
        q[(u64)row * dimension + i] = error;
    }
}

extern "C" __global__ void scale(const float* x, float* out, float factor, unsigned long long n) {
    EACH(i, n) out[i] = x[i] * factor;
}
