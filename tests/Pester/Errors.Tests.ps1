BeforeDiscovery {
    $isRoot = $IsLinux -and (& id -u) -eq '0'
    $hasSmallDisks = $isRoot -and $(
        $probe = Join-Path ([IO.Path]::GetTempPath()) "probe-$PID"
        $null = New-Item $probe -ItemType Directory
        & mount -t tmpfs -o size=1m none $probe 2> $null
        $LASTEXITCODE -eq 0 -and $(& umount $probe; $true)
        Remove-Item $probe
    )
}

BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $folder = Join-Path $TestDrive 'errors'
    $source = Join-Path $folder 'source'
    New-SourceTree $source
    $image = (New-BackupImage $source (Join-Path $folder 'image.sparseimage') -SizeBytes 40MB).Path
}

Describe 'What the host refuses' {
    It 'has a stable id and a remedy, and is no fault of the module: <Name>' -ForEach @(
        @{ Name = 'no such image'; Id = 'ImageNotFound'; Command = { Get-BackupImage (Join-Path $folder 'nothing.dmg') } }
        @{ Name = 'a file in place of a folder'; Id = 'ImageNotFound'; Command = { Get-BackupImage (Join-Path $image 'x.dmg') } }
        @{ Name = 'a folder that is no image'; Id = 'UnknownFormat'; Command = { Get-BackupImage $source } }
        @{ Name = 'no such source'; Id = 'SourceNotFound'; Command = { New-BackupImage (Join-Path $folder 'nothing') (Join-Path $folder 'x.dmg') } }
        @{ Name = 'no folder for the image'; Id = 'DestinationNotFound'; Command = { New-BackupImage $source (Join-Path $folder 'nothing/x.dmg') } }
        @{ Name = 'a file where the folder of the image would be'; Id = 'DestinationNotFound'; Command = { New-BackupImage $source (Join-Path $image 'x.dmg') } }
        @{ Name = 'a name that is too long'; Id = 'InvalidArgument'; Command = { New-BackupImage $source (Join-Path $folder ('x' * 300 + '.dmg')) } }
        @{ Name = 'an image with a name that is too long'; Id = 'InvalidArgument'; Command = { Get-BackupImage (Join-Path $folder ('x' * 300)) } }
        @{ Name = 'a file where files are to be restored'; Id = 'DestinationExists', 'DestinationUnwritable'; Command = { Restore-BackupImage $image $image } }
    ) {
        $failure = try { & $Command -ErrorAction Stop } catch { $_ }
        $failure.FullyQualifiedErrorId.Split(',')[0] | Should -BeIn $Id
        $failure.ErrorDetails.RecommendedAction | Should -Not -BeNullOrEmpty
        $failure.CategoryInfo.Category | Should -Not -Be 'NotSpecified'
        $failure.TargetObject | Should -Not -BeNullOrEmpty
    }

    It 'has one where links lead in a circle' -Skip:$IsWindows {
        $circle = Join-Path $folder 'circle.dmg'
        $null = New-Item $circle -ItemType SymbolicLink -Value $circle
        { Get-BackupImage $circle -ErrorAction Stop } | Should -Throw -ErrorId 'ImageUnreadable,*'
    }


    It 'has one where nobody may write' -Skip:(-not $IsLinux) {
        $failure = { New-BackupImage $source /sys/x.dmg } | Should -Throw -PassThru
        $failure.FullyQualifiedErrorId | Should -BeLike 'DestinationUnwritable,*'
        $failure.CategoryInfo.Category | Should -Be 'WriteError'
    }

    It 'has one for a disk that is full: <Name>' -Skip:(-not $hasSmallDisks) -ForEach @(
        @{ Name = 'backup'; Command = { New-BackupImage $source (Join-Path $small 'x.dmg') -Format ReadOnly } }
        @{ Name = 'conversion'; Command = { ConvertTo-ReadOnlyImage $image (Join-Path $small 'x.dmg') -Format ReadOnly } }
    ) {
        $small = Join-Path $folder 'small'
        $null = New-Item $small -ItemType Directory -Force
        & mount -t tmpfs -o size=64k none $small
        try { { & $Command -ErrorAction Stop } | Should -Throw -ErrorId 'DestinationFull,*' }
        finally { & umount $small }
    }
}

Describe 'The table of errors' {
    BeforeAll {
        $table = [CCImage.Commands.ImagingCommand].Assembly.GetType('CCImage.Errors.ErrorMapping')
        function Get-Record([Exception] $Exception) { $table.GetMethod('ToRecord').Invoke($null, @($Exception, '/somewhere')) }
    }

    It 'calls <Type> <Id>' -ForEach @(
        @{ Type = 'IO.FileNotFoundException'; Id = 'ImageNotFound' }, @{ Type = 'IO.DirectoryNotFoundException'; Id = 'ImageNotFound' }
        @{ Type = 'IO.PathTooLongException'; Id = 'InvalidArgument' }, @{ Type = 'UnauthorizedAccessException'; Id = 'AccessDenied' }
        @{ Type = 'Security.SecurityException'; Id = 'AccessDenied' }, @{ Type = 'IO.IOException'; Id = 'InputOutputFailed' }
        @{ Type = 'IO.EndOfStreamException'; Id = 'InputOutputFailed' }, @{ Type = 'OperationCanceledException'; Id = 'Cancelled' }
        @{ Type = 'PlatformNotSupportedException'; Id = 'PlatformNotSupported' }, @{ Type = 'Management.Automation.ItemNotFoundException'; Id = 'ImageNotFound' }
        @{ Type = 'Management.Automation.ProviderNotFoundException'; Id = 'InvalidArgument' }, @{ Type = 'Management.Automation.Host.HostException'; Id = 'ConfirmationRequired' }
        @{ Type = 'ArgumentException'; Id = 'InternalError' }, @{ Type = 'ArgumentOutOfRangeException'; Id = 'InternalError' }, @{ Type = 'ArgumentNullException'; Id = 'InternalError' }
        @{ Type = 'Management.Automation.PSArgumentException'; Id = 'InternalError' }, @{ Type = 'NotSupportedException'; Id = 'InternalError' }
        @{ Type = 'OverflowException'; Id = 'InternalError' }, @{ Type = 'InvalidOperationException'; Id = 'InternalError' }, @{ Type = 'NullReferenceException'; Id = 'InternalError' }
        @{ Type = 'OutOfMemoryException'; Id = 'InternalError' }
    ) {
        $record = Get-Record (New-Object "System.$Type")
        $record.FullyQualifiedErrorId | Should -Be $Id
        $record.TargetObject | Should -Be '/somewhere'
        if ($Id -eq 'InternalError') { $record.ErrorDetails.RecommendedAction | Should -Match 'fault of the module' }
        else { "$($record.ErrorDetails.Message) $($record.ErrorDetails.RecommendedAction)" | Should -Not -Match 'fault of the module' }
    }

    It 'looks into what holds a single cause' { (Get-Record ([AggregateException]::new([UnauthorizedAccessException]::new()))).FullyQualifiedErrorId | Should -Be 'AccessDenied' }

    It 'calls error <Code> of the system <Id>' -ForEach @{ Code = 28; Id = 'DestinationFull' }, @{ Code = 0x80070070; Id = 'DestinationFull' }, @{ Code = 5; Id = 'InputOutputFailed' } {
        (Get-Record ([IO.IOException]::new('words', [int]"0x$('{0:x8}' -f $Code)"))).FullyQualifiedErrorId | Should -Be $Id
    }

    It 'has a category for each id' {
        foreach ($id in [Enum]::GetValues([CCImage.ImageErrorId])) { $table.GetMethod('Category').Invoke($null, @($id)) | Should -Not -Be 'NotSpecified' }
    }
}
