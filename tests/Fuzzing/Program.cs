using System.Globalization;
using CCImage;
using CCImage.Compression;
using CCImage.Fuzzing;

// See README.md.
var targets = new Dictionary<string, Func<FuzzTarget>>
{
    ["adc"] = () => new CodecTarget(new AdcCodec()),
    ["bzip2"] = () => new CodecTarget(new Bzip2Codec()),
    ["lzfse"] = () => new CodecTarget(new LzfseCodec()),
    ["lzma2"] = () => new Lzma2Target(),
    ["xz"] = () => new XzTarget(),
    ["zlib"] = () => new CodecTarget(new ZlibCodec()),
    ["udif"] = () => new UdifTarget(),
    ["sparse"] = () => new SparseImageTarget(),
    ["bundle"] = () => new SparseBundleTarget(),
    ["encrypted"] = () => new EncryptedTarget(),
    ["map"] = () => new PartitionMapTarget(),
    ["hfs"] = () => new VolumeTarget(),
    ["apfs"] = () => new ApfsTarget(),
    ["decmpfs"] = () => new CompressedFileTarget(),
    ["exfat"] = () => new ExFatTarget(),
    ["fat"] = () => new VolumeTarget(),
    ["plist"] = () => new PropertyListTarget(),
    ["hfs-resize"] = () => new ResizeTarget(new VolumeTarget()),
    ["apfs-resize"] = () => new ResizeTarget(new ApfsTarget()),
};

switch (args)
{
    case ["instrument", .. var paths]:
        Instrumentation.Apply(paths);
        return 0;
    case ["seeds", var folder]:
        SeedWriter.Write(folder);
        return 0;
    case ["run", var name, var folder, var seconds, var seed, .. var quiet] when quiet.Length < 2
        && targets.TryGetValue(name, out Func<FuzzTarget>? make):
        TimeSpan time = Seconds(seconds);
        return new FuzzEngine(name, make(), folder, int.Parse(seed, CultureInfo.InvariantCulture))
            .Run(time, quiet is [var most] ? Seconds(most) : time) ? 0 : 1;
    case ["repro", var name, var path] when targets.TryGetValue(name, out Func<FuzzTarget>? make):
        try
        {
            make().Run(File.ReadAllBytes(path));
        }
        catch (ImageException e) when (FuzzTarget.Verdicts.Contains(e.Id))
        {
            Console.WriteLine(e.Message);
        }

        return 0;
    default:
        Console.Error.WriteLine($"instrument ASSEMBLY... | seeds FOLDER | run TARGET FOLDER SECONDS NUMBER [QUIET-SECONDS] | repro TARGET "
            + $"FILE; targets: {string.Join(' ', targets.Keys)}");
        return 2;
}

static TimeSpan Seconds(string number) => TimeSpan.FromSeconds(int.Parse(number, CultureInfo.InvariantCulture));
