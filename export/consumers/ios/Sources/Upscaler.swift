// The LiteRT code: opens the network of the app's bundle on Metal or the CPU and enlarges pictures window by window.

import Foundation
import TensorFlowLite

/// Pixels as red, green, blue and an unused byte, row by row.
struct Picture: Sendable {
    let width: Int
    let height: Int
    var rgbx: [UInt8]

    init(width: Int, height: Int) {
        self.width = width
        self.height = height
        rgbx = [UInt8](repeating: 255, count: 4 * width * height)
    }
}

/// How a tensor's numbers stand for values in [0, 1]: as float32, or as uint8 `q` for `(q - zeroPoint) * scale`.
private struct Numbers {
    let isWhole: Bool
    let scale: Float
    let zeroPoint: Int

    init(_ tensor: Tensor) throws {
        let quantization = tensor.quantizationParameters
        isWhole = tensor.dataType == .uInt8
        scale = quantization?.scale ?? 0
        zeroPoint = quantization?.zeroPoint ?? 0
        guard tensor.dataType == .float32 || (isWhole && scale > 0) else {
            throw Fault("The network must take and give float32 or uint8; export it anew.")
        }
    }
}

/// An opened network. An actor, since an interpreter serves one caller at a time, and never the main thread.
actor Upscaler {
    /// What it runs on, such as "GPU" or "CPU, 4 threads".
    let device: String
    /// How many times as large SR is.
    let scale: Int

    private let interpreter: Interpreter
    private let reach: Reach
    private let height: Int
    private let width: Int
    private let input: Numbers
    private let output: Numbers

    /// Opens the one .tflite file in `bundle`, on the GPU if it takes the network. Throws `Fault`.
    init(bundle: Bundle = .main) throws {
        let files = bundle.urls(forResourcesWithExtension: "tflite", subdirectory: nil) ?? []
        guard let model = files.first, files.count == 1 else {
            throw Fault("The app must hold one .tflite file, holds \(files.count); add model_float16_128x128.tflite.")
        }
        let manifest = try Manifest(beside: model)
        let (interpreter, device) = try Upscaler.open(model.path)
        let (lr, sr) = try Upscaler.tensors(interpreter)
        let (height, width) = try Upscaler.windowSize(lr.shape.dimensions, model.lastPathComponent)
        guard sr.shape.dimensions == [1, height * manifest.scale, width * manifest.scale, 3] else {
            throw Fault("\(model.lastPathComponent) is not ×\(manifest.scale), as manifest.json tells; export anew.")
        }
        scale = manifest.scale
        input = try Numbers(lr)
        output = try Numbers(sr)
        reach = manifest.reach
        self.interpreter = interpreter
        self.device = device
        self.height = height
        self.width = width
    }

    /// Enlarges `picture` and tells the share that is done; stops between two windows once its task is cancelled.
    ///
    /// Throws `Fault`, or `CancellationError`.
    func enlarge(_ picture: Picture, progress: @Sendable (Double) -> Void) throws -> Picture {
        let rows = try planAxis(length: picture.height, window: height, reach: reach)
        let columns = try planAxis(length: picture.width, window: width, reach: reach)
        var sr = Picture(width: picture.width * scale, height: picture.height * scale)
        var done = 0
        for row in rows {
            for column in columns {
                try Task.checkCancellation()
                let window = try run(cut(picture, top: row.start, left: column.start))
                paste(window, into: &sr, row: row, column: column)
                done += 1
                progress(Double(done) / Double(rows.count * columns.count))
            }
        }
        return sr
    }

    private func cut(_ picture: Picture, top: Int, left: Int) -> [UInt8] {
        var rgb: [UInt8] = []
        rgb.reserveCapacity(3 * height * width)
        for y in 0..<height {
            let row = mirrored(top + y, length: picture.height) * picture.width
            for x in 0..<width {
                let at = 4 * (row + mirrored(left + x, length: picture.width))
                rgb.append(contentsOf: picture.rgbx[at..<at + 3])
            }
        }
        return rgb
    }

    private func run(_ rgb: [UInt8]) throws -> [UInt8] {
        do {
            try interpreter.copy(numbers(of: rgb), toInputAt: 0)
            try interpreter.invoke()
            return pixels(of: try interpreter.output(at: 0).data)
        } catch let error as InterpreterError {
            throw Fault("The network failed on the \(device) (\(error)).")
        }
    }

    private func numbers(of rgb: [UInt8]) -> Data {
        if input.isWhole {
            let table = (0...255).map { value -> UInt8 in
                let number = (Float(value) / 255 / input.scale).rounded() + Float(input.zeroPoint)
                return UInt8(min(max(number, 0), 255))
            }
            return Data(rgb.map { table[Int($0)] })
        }
        return rgb.map { Float($0) / 255 }.withUnsafeBufferPointer { Data(buffer: $0) }
    }

    private func pixels(of data: Data) -> [UInt8] {
        if output.isWhole {
            let table = (0...255).map { pixel(Float($0 - output.zeroPoint) * output.scale) }
            return data.map { table[Int($0)] }
        }
        return data.withUnsafeBytes { $0.bindMemory(to: Float.self).map(pixel) }
    }

    private func paste(_ window: [UInt8], into sr: inout Picture, row: Span, column: Span) {
        for y in row.first * scale..<row.last * scale {
            var from = 3 * ((y - row.start * scale) * width * scale + (column.first - column.start) * scale)
            var to = 4 * (y * sr.width + column.first * scale)
            for _ in 0..<(column.last - column.first) * scale {
                sr.rgbx[to] = window[from]
                sr.rgbx[to + 1] = window[from + 1]
                sr.rgbx[to + 2] = window[from + 2]
                from += 3
                to += 4
            }
        }
    }

    private static func open(_ path: String) throws -> (Interpreter, String) {
        if let interpreter = try? prepared(Interpreter(modelPath: path, delegates: [MetalDelegate()])) {
            return (interpreter, "GPU")
        }
        // More threads than fast cores make XNNPACK slower: the slow ones keep the others waiting.
        var options = Interpreter.Options()
        options.isXNNPackEnabled = true
        let threads = min(ProcessInfo.processInfo.activeProcessorCount, 4)
        options.threadCount = threads
        do {
            return (try prepared(Interpreter(modelPath: path, options: options)), "CPU, \(threads) threads")
        } catch {
            throw Fault("The .tflite file can't be opened (\(error)); copy it anew from its export.")
        }
    }

    /// A first window says what preparing does not: whether the delegate can run what it took.
    private static func prepared(_ interpreter: Interpreter) throws -> Interpreter {
        try interpreter.allocateTensors()
        try interpreter.invoke()
        return interpreter
    }

    private static func tensors(_ interpreter: Interpreter) throws -> (lr: Tensor, sr: Tensor) {
        do {
            return (try interpreter.input(at: 0), try interpreter.output(at: 0))
        } catch {
            throw Fault("The .tflite file takes or gives numbers of an unknown kind (\(error)); export it anew.")
        }
    }

    private static func windowSize(_ shape: [Int], _ name: String) throws -> (Int, Int) {
        guard shape.count == 4, shape[0] == 1, shape[3] == 3 else {
            throw Fault("\(name) must take one RGB picture [1, H, W, 3], takes \(shape); use an RGB network.")
        }
        // A free size shows as 1x1, and Metal can't change it.
        guard shape[1] > 1, shape[2] > 1 else {
            throw Fault("\(name) leaves the size free; take one with a size, such as model_float16_128x128.tflite.")
        }
        return (shape[1], shape[2])
    }
}

/// A NaN becomes black, as no comparison holds for it: the conversion to UInt8 would trap.
private func pixel(_ value: Float) -> UInt8 {
    value > 0 ? UInt8((min(value, 1) * 255).rounded()) : 0
}
