// What a step draws at random: the parameters of its views (augment/mod.rs), its negatives, and the terms that count
// (draws.rs).

// What batches are fed by; written by the host at the start of each epoch (feed/settings.rs).
struct feed_t {
    u64 seed, epoch;
    // Smallest and largest area of a crop, logarithm of its aspect, and the aspect.
    double area[2], log_aspect[2], aspect[2];
    // Probabilities of flip, jitter, grey and blur.
    float flip, jitter, grey, blur;
    // Strengths of brightness, contrast, saturation and hue.
    float strength[4];
    float sigma[2];
    // Of each channel; of values in [0, 1].
    float mean[3], deviation[3];
};

// What was drawn for one view (augment::Draw).
struct view_t {
    int top, left, height, width;
    int flip, grey;
    // Which of brightness, contrast, saturation and hue there are, one bit each, and in which order.
    int jitter, order[4];
    float factor[4];
    // 0: no blur.
    float sigma;
};

// CropRange::draw.
__device__ inline void draw_crop(const feed_t* feed, stream_t& stream, int height, int width, view_t& view) {
    double whole = (double)((u64)height * (u64)width);
    for (int attempt = 0; attempt < 10; attempt++) {
        double part = feed->area[0] + product(feed->area[1] - feed->area[0], unit_f64(stream));
        double area = product(whole, part);
        double range = feed->log_aspect[1] - feed->log_aspect[0];
        double aspect = exp(feed->log_aspect[0] + product(range, unit_f64(stream)));
        double crop_width = rint(sqrt(product(area, aspect)));
        double crop_height = rint(sqrt(area / aspect));
        if (crop_width >= 1.0 && crop_width <= width && crop_height >= 1.0 && crop_height <= height) {
            view.height = (int)crop_height;
            view.width = (int)crop_width;
            view.top = (int)below(stream, (u64)(height - view.height + 1));
            view.left = (int)below(stream, (u64)(width - view.width + 1));
            return;
        }
    }
    // The largest in the middle whose aspect is allowed.
    double aspect = (double)width / (double)height;
    double crop_height = height, crop_width = width;
    if (aspect < feed->aspect[0]) crop_height = rint((double)width / feed->aspect[0]);
    if (aspect > feed->aspect[1]) crop_width = rint(product((double)height, feed->aspect[1]));
    view.height = (int)fmin(fmax(crop_height, 1.0), (double)height);
    view.width = (int)fmin(fmax(crop_width, 1.0), (double)width);
    view.top = (height - view.height) / 2;
    view.left = (width - view.width) / 2;
}

// JitterRange::draw.
__device__ inline void draw_jitter(const feed_t* feed, stream_t& stream, view_t& view) {
    for (int last = 3; last > 0; last--) {
        int other = (int)below(stream, (u64)(last + 1));
        int held = view.order[last];
        view.order[last] = view.order[other];
        view.order[other] = held;
    }
    for (int op = 0; op < 4; op++) {
        float strength = feed->strength[op];
        float low = op == 3 ? -strength : fmaxf(1.0f - strength, 0.0f);
        float high = op == 3 ? strength : 1.0f + strength;
        view.factor[op] = uniform(stream, low, high);
        if (strength > 0.0f) view.jitter |= 1 << op;
    }
}

// Views [2 count]: first those of Purpose::View(0), then those of Purpose::View(1). One thread a view.
extern "C" __global__ void draw_views(const feed_t* feed, const control_t* control, const int* order, view_t* views,
                                      int count, int batch, int height, int width) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= 2 * count) return;
    int second = row >= count;
    int image = order[(control->place - 1) * (u64)batch + (u64)(row - second * count)];
    stream_t stream = make_stream(feed->seed, FOR_VIEW + second, feed->epoch, (u64)image);
    // In its place, not in registers: what is shuffled is indexed.
    view_t& view = views[row];
    view = {0, 0, 0, 0, 0, 0, 0, {0, 1, 2, 3}, {0.0f, 0.0f, 0.0f, 0.0f}, 0.0f};
    draw_crop(feed, stream, height, width, view);
    view.flip = chance(stream, feed->flip);
    if (chance(stream, feed->jitter)) draw_jitter(feed, stream, view);
    view.grey = chance(stream, feed->grey);
    if (chance(stream, feed->blur)) view.sigma = uniform(stream, feed->sigma[0], feed->sigma[1]);
}

// The number of this rank's draws in this step: a number of its own for each rank and step.
__device__ inline u64 draw_number(const control_t* control, int rank, int ranks) {
    return (control->step - 1) * (u64)ranks + (u64)rank + 1;
}

// out[i] = first + the i-th draw from 0..n, i < len, by all threads of a block: each draws a run of its own. Where a
// word is refused, which happens once in 2^64 / n words, all that come after it move up: then one thread draws them
// all.
__device__ inline void draw_list(stream_t start, int* out, int len, u64 n, int first) {
    __shared__ int uneven[1024];
    u64 refused = refused_below(n), drawn = 0;
    int run = (len + blockDim.x - 1) / blockDim.x;
    int from = min((int)threadIdx.x * run, len), to = min(from + run, len);
    stream_t stream = start;
    skip(stream, (u64)from);
    int odd = 0;
    for (int i = from; i < to; i++) {
        if (!below_once(stream, n, refused, drawn)) odd = 1;
        out[i] = first + (int)drawn;
    }
    uneven[threadIdx.x] = odd;
    __syncthreads();
    if (threadIdx.x == 0) {
        int any = 0;
        for (int thread = 0; thread < (int)blockDim.x; thread++) any |= uneven[thread];
        for (int i = 0; any && i < len; i++) out[i] = first + (int)below(start, n);
    }
}

// Negatives [lists][count][rows], one block a list. kind 0: the next row (count is 1), 1: uniform over the rows, 2: the
// row itself (count is 1).
extern "C" __global__ void draw_negatives(int* out, const feed_t* feed, const control_t* control, int rows, int count,
                                          int kind, int rank, int ranks) {
    int len = count * rows;
    out += (size_t)blockIdx.x * len;
    if (kind == 1) {
        u64 number = draw_number(control, rank, ranks);
        draw_list(make_stream(feed->seed, FOR_NEGATIVES, blockIdx.x, number), out, len, (u64)rows, 0);
    } else {
        for (int i = threadIdx.x; i < len; i += blockDim.x) out[i] = kind == 0 ? (i + 1) % rows : i;
    }
}

// For each row whether only its positive counts. kind 0: drawn evenly, 1: those of the first half.
extern "C" __global__ void draw_either(unsigned char* keep, const feed_t* feed, const control_t* control, int rows,
                                       int kind, int rank, int ranks) {
    stream_t start = make_stream(feed->seed, FOR_EITHER, 0, draw_number(control, rank, ranks));
    for (int row = blockIdx.x * blockDim.x + threadIdx.x; row < rows; row += gridDim.x * blockDim.x) {
        stream_t stream = start;
        skip(stream, (u64)row);
        keep[row] = kind == 0 ? chance(stream, 0.5f) : row < rows / 2;
    }
}
